# What packages do on a machine, whatever their format. A script of a format says when.

booted() { [ -d /run/systemd/system ]; }

# Where Istio's own agent is, from its package.
sidecar() { [ -e /usr/local/bin/istio-start.sh ]; }

# What `journalctl -x` says of our entries.
catalogue() { journalctl --update-catalog >/dev/null 2>&1 || true; }

# The first time: user and directories, and what to do next. Nothing starts that has not joined,
# unless Istio's own agent runs: that one is taken over.
installed() {
    systemd-sysusers hawser.conf
    systemd-tmpfiles --create hawser.conf || true
    catalogue
    if booted; then
        systemctl daemon-reload
    fi
    if sidecar; then
        /usr/libexec/hawser/take-over --keep-envoy || true
        if booted && systemctl is-active --quiet istio.service; then
            /usr/libexec/hawser/take-over --installing || true
            return 0
        fi
    fi
    if [ -d /etc/hawser/mesh ]; then
        echo "hawser: this machine has joined; next, \`systemctl enable --now hawser\`"
    else
        echo "hawser: next, \`hawser join BUNDLE\`"
    fi
    for envoy in /usr/local/bin/envoy /usr/bin/envoy /usr/libexec/hawser/envoy /opt/envoy/bin/envoy; do
        [ ! -x "$envoy" ] || return 0
    done
    echo "hawser: no Envoy is here. Istio's build is in the image istio/proxyv2, at /usr/local/bin/envoy;"
    echo "hawser: any other will do: a distribution's, one of https://github.com/envoyproxy/envoy/releases."
}

# The new program takes over where the old one ran; Envoy is left alone. Not waited for: the agent is
# ready when it has an identity, and the package manager must not hang on that.
upgraded() {
    systemd-sysusers hawser.conf
    systemd-tmpfiles --create hawser.conf || true
    catalogue
    ! sidecar || /usr/libexec/hawser/take-over --keep-envoy || true
    if booted; then
        systemctl daemon-reload
        # By itself it waits for nobody; together with the agent it would, until that is ready.
        systemctl try-restart hawser-intercept.service || true
        systemctl try-restart --no-block hawser.service || true
    fi
}

# All units stop, rules go while the program that knows them is here, and nothing starts at boot.
removing() {
    if booted; then
        systemctl stop hawser.target hawser-ready.service hawser-envoy.service \
            hawser-intercept.service hawser-resolved.service hawser.service \
            'hawser-reload@*.path' 2>/dev/null || true
    fi
    # Where a guard died, or the host was booted with rules that somebody had saved.
    hawser intercept clear >/dev/null 2>&1 || true
    nft delete table inet hawser 2>/dev/null || true
    /usr/libexec/hawser/take-over --give-back || true
    systemctl disable --quiet hawser.service 2>/dev/null || true
    for link in /etc/systemd/system/*.wants/hawser-reload@*.path; do
        [ ! -L "$link" ] || systemctl disable --quiet "${link##*/}" || true
    done
}

removed() {
    catalogue
    if booted; then
        systemctl daemon-reload
        systemctl reset-failed 'hawser*' 2>/dev/null || true
    fi
}

# State, what was joined, and certificates exported to the usual place. The user stays, for files
# elsewhere may be its own, and its number would be given to somebody else.
purged() {
    rm -rf /var/lib/hawser /var/lib/hawser-envoy /var/cache/hawser /etc/hawser/mesh /etc/hawser/mesh.*
    rm -f /etc/hawser/.removed
    rm -rf /run/hawser /run/hawser-envoy /run/hawser-intercept
    for unit in hawser hawser-envoy hawser-intercept hawser-ready hawser-resolved; do
        rm -rf "/etc/systemd/system/$unit.service.d"
    done
    rm -f /etc/credstore.encrypted/hawser.seal /usr/libexec/hawser/envoy
    rm -f /var/log/istio/envoy.log /var/log/istio/envoy.log.* /var/log/istio/envoy.log-*
    for directory in /etc/credstore.encrypted /etc/hawser /usr/libexec/hawser; do
        rmdir "$directory" 2>/dev/null || true
    done
    # Istio's own agent does not start without it.
    sidecar || rmdir /var/log/istio 2>/dev/null || true
    case "$(readlink /etc/certs/..data || true)" in
    ..hawser-*)
        # Only names that lead through the link are the agent's.
        for name in key.pem cert-chain.pem root-cert.pem; do
            if [ "$(readlink "/etc/certs/$name" || true)" = "..data/$name" ]; then
                rm -f "/etc/certs/$name"
            fi
        done
        rm -rf /etc/certs/..data /etc/certs/..poked /etc/certs/..hawser /etc/certs/..hawser-*
        ;;
    esac
}
