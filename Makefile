# hawser: two commands do everything. `make demo` shows it, `make test` proves it.

CARGO   ?= cargo
TARGET  := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
HAWSER  := $(TARGET)/debug/hawser
PROFILE ?= dist
DIR     ?=
MODE    ?=

.DEFAULT_GOAL := help
.PHONY: help demo mesh build test lint unit scenarios e2e tools packages bench-dns bench-xds fuzz clean

help:
	@echo "make demo      a VM joins an embedded mesh, with a real Envoy (KEEP=1 leaves it up)"
	@echo "               MODE=standalone: a machine with a file of services, and without istiod"
	@echo "make mesh      the mesh alone, to join by hand"
	@echo "make test      every check and test: lint, unit, scenarios"
	@echo "make e2e       of those, a booted machine with the package, from install to purge"
	@echo "make packages  .deb, .rpm, .tar.gz and a bill of materials in target/packages (PROFILE=dev: quickly)"
	@echo "make bench-dns what an answer costs the agent, and other servers (PILOT_AGENT=path, ROUNDS=3)"
	@echo "make bench-xds what large pushes cost the agent and others (PILOT_AGENT=path, ROUNDS=3)"
	@echo "make fuzz      every fuzz target for a minute (SECONDS_EACH=60)"

build:
	$(CARGO) build --locked --workspace --bins

demo: build
	$(TARGET)/debug/demo --hawser $(HAWSER) $(if $(MODE),--mode $(MODE)) $(if $(DIR),--dir $(DIR)) $(if $(KEEP),--keep)

mesh: build
	$(TARGET)/debug/mesh $(if $(DIR),--dir $(DIR))

test: tools lint unit scenarios

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

# Always the whole workspace: for a part of it, cargo would settle on other features and build
# everything below again. `rules` sends real connections through network namespaces: it needs root.
unit:
	$(CARGO) test --locked --workspace --lib --bins --test proxy --test fakes --test rules

scenarios: build
	$(CARGO) test --locked --workspace --test promises

e2e: tools build
	$(CARGO) test --locked --workspace --test promises -- vm::

tools:
	@tests/tools.sh
	@tests/servers.sh $(TARGET)/servers unbound mandoc prometheus zsh fish

packages:
	@packaging/packages.sh $(TARGET) $(PROFILE)

ROUNDS ?= 3
# The agent as packages ship it: what that costs is what counts here.
bench-xds:
	$(CARGO) build --locked --profile dist --bin hawser
	$(CARGO) build --locked --release --package hawser-harness --bin xds
	$(TARGET)/release/xds bench --hawser $(TARGET)/dist/hawser --rounds $(ROUNDS) \
		--out $(TARGET)/bench/xds.json $(if $(PILOT_AGENT),--pilot-agent $(PILOT_AGENT))

# Both programs in one go, so that what they share is built once.
bench-dns:
	tests/servers.sh $(TARGET)/servers dnsmasq-base unbound knot nsd
	$(CARGO) build --locked --release --workspace --bin hawser --bin dns
	$(TARGET)/release/dns bench --hawser $(TARGET)/release/hawser --rounds $(ROUNDS) \
		--tools $(TARGET)/servers --out $(TARGET)/bench/dns.json \
		$(if $(PILOT_AGENT),--pilot-agent $(PILOT_AGENT))

SECONDS_EACH ?= 60
fuzz:
	@tests/fuzz/run.sh $(SECONDS_EACH)

clean:
	$(CARGO) clean
