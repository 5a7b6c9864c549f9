#!/usr/bin/env python3
"""What the program is made of: crates.py copyright | sbom [--target TRIPLE]

Reads `cargo metadata` and the licence files of what is linked in. `copyright` prints Debian's
machine-readable form, `sbom` CycloneDX in JSON. The same sources give the same bytes.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent.parent

# Where a crate leaves the choice, it is taken under the first of these that it offers.
PREFERRED = ["Apache-2.0", "MIT", "ISC", "BSD-3-Clause", "Unicode-3.0", "Zlib"]

# By what a licence's text is known.
MARKS = {
    "Apache-2.0": "terms and conditions for use, reproduction",
    "MIT": "the above copyright notice and this permission notice shall be included",
    "ISC": "permission to use, copy, modify, and/or distribute this software",
    "BSD-3-Clause": "redistributions in binary form must reproduce",
    "Unicode-3.0": "unicode license v3",
    "Zlib": "an acknowledgment in the product documentation would be",
}

APACHE = """\
 The whole text is in /usr/share/common-licenses/Apache-2.0 on Debian and what is made of it, and
 in /usr/share/licenses/hawser/LICENSE."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("what", choices=["copyright", "sbom"])
    arguments.add_argument("--target", help="the triple that it is built for")
    chosen = arguments.parse_args()
    root, crates, edges = linked(chosen.target)
    print(copyright_file(root, crates) if chosen.what == "copyright" else sbom(root, crates, edges))


def linked(target):
    """The daemon's own package, what is linked into it, and who needs what."""
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--format-version", "1"]
    target = target or host()
    command += ["--filter-platform", target]
    told = json.loads(subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    root = told["resolve"]["root"]
    edges, waiting = {}, [root]
    while waiting:
        this = waiting.pop()
        if this in edges:
            continue
        normal = [
            dependency["pkg"]
            for dependency in nodes[this]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
            and not macro(packages[dependency["pkg"]])
        ]
        edges[this] = sorted(normal)
        waiting += normal
    inside = [packages[this] for this in edges if this != root]
    return packages[root], sorted(inside, key=lambda c: (c["name"], c["version"])), edges


def macro(package):
    """Runs in the compiler, and is no part of what comes out."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def host():
    told = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"^host: (\S+)", told, re.M)[1]


# --- licences ---------------------------------------------------------------------------------


def copyright_file(root, crates):
    texts = {}
    stanzas = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        f"Upstream-Name: {root['name']}\nSource: {root['repository']}\n"
        "Comment: crates/ is what is linked into the program, as cargo knows it.",
        f"Files: *\nCopyright: {', '.join(root['authors'])}\nLicense: {root['license']}",
    ]
    for crate in crates:
        if crate["source"] is None:
            continue
        files = licence_files(crate)
        terms = dict.fromkeys(name_of(term, crate, files, texts) for term in taken(crate))
        holders = "\n ".join(holders_of(crate, files))
        stanzas.append(
            f"Files: crates/{crate['name']}-{crate['version']}/*\n"
            f"Copyright: {holders}\nLicense: {' and '.join(terms)}"
        )
    stanzas.append(f"License: Apache-2.0\n{APACHE}")
    for text, name in sorted(texts.items(), key=lambda item: item[1]):
        body = "\n".join(f" {line}" if line.strip() else " ." for line in text.splitlines())
        stanzas.append(f"License: {name}\n{body}")
    return "\n\n".join(stanzas)


def taken(crate):
    """The licences that it is taken under: one of each choice."""
    expression = (crate["license"] or "").replace(" / ", " OR ").replace("/", " OR ")
    if not expression:
        sys.exit(f"crates.py: {crate['name']}: says no licence")
    terms = []
    for part in re.split(r" AND (?![^(]*\))", expression):
        offered = [offer.strip() for offer in part.strip("() ").split(" OR ")]
        wanted = [licence for licence in PREFERRED if licence in offered]
        if not wanted:
            sys.exit(f"crates.py: {crate['name']}: nothing is known of {part}")
        terms.append(wanted[0])
    return terms


def name_of(term, crate, files, texts):
    """The name of the text; equal texts have one name."""
    if term == "Apache-2.0":
        return term
    candidates = [text for text in files if MARKS[term] in " ".join(text.split()).lower()]
    if candidates:
        text = min(candidates, key=len)
        several = sum(mark in " ".join(text.split()).lower() for mark in MARKS.values()) > 1
        if several:
            # One file with the terms of all parts: as it is.
            texts[text] = f"{crate['name']}-LICENSE"
            return texts[text]
        text = without_holders(text)
    else:
        # Its licence is said, and no file with it: the words that most others have.
        known = [text for text, name in texts.items() if name == term]
        if not known:
            sys.exit(f"crates.py: {crate['name']}: no text of {term} in it")
        text = known[0]
    for other, name in texts.items():
        if letters(other) == letters(text):
            return name
    texts[text] = term if term not in texts.values() else f"{term}-{crate['name']}"
    return texts[text]


def letters(text):
    """What makes two texts the same: neither titles nor the way they are broken into lines."""
    text = re.sub(r"all rights reserved\.?|\(?(the )?(mit|isc|bsd 3-clause) license( \(mit\))?\)?", "", text.lower())
    return re.sub(r"\W+", "", text)


def licence_files(crate):
    place = pathlib.Path(crate["manifest_path"]).parent
    known = re.compile(r"(licen[cs]e|copying|notice|unlicense)", re.I)
    names = sorted(name for name in os.listdir(place) if known.match(name))
    files = (place / name for name in names)
    return [file.read_text("utf-8", "replace") for file in files if file.is_file()]


HOLDER = re.compile(r"^\W*(copyright\b.*(?:\d{4}|\(c\)|©|contributors|authors|developers).*)$", re.I)


def holders_of(crate, files):
    """Who holds the rights, from its licences; else its authors."""
    found = []
    for line in "\n".join(files).splitlines():
        holder = HOLDER.match(line)
        if holder and "[" not in line and "{" not in line and len(line) < 120:
            said = re.sub(r"^copyright\s*:?\s*(\(c\)|©)?\s*", "", holder[1].strip(), flags=re.I)
            said = re.sub(r"[;*/\s]+$|\.? all rights reserved\.?$", "", said, flags=re.I)
            if said and said not in found:
                found.append(said)
    authors = [author.split(" <")[0] for author in crate["authors"]]
    return found or authors or [f"The authors of {crate['name']}"]


def without_holders(text):
    lines = (line.rstrip() for line in text.strip().splitlines())
    return "\n".join(line for line in lines if not HOLDER.match(line)).strip()


# --- bill of materials ------------------------------------------------------------------------


def sbom(root, crates, edges):
    sums = checksums()
    purl = {}
    for crate in [root, *crates]:
        purl[crate["id"]] = f"pkg:cargo/{crate['name']}@{crate['version']}"
    components = [component(crate, purl, sums) for crate in crates]
    whole = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch()))),
            "component": {**component(root, purl, sums), "type": "application"},
        },
        "components": components,
        "dependencies": [
            {"ref": purl[this], "dependsOn": sorted(purl[that] for that in edges[this])}
            for this in sorted(edges, key=purl.get)
        ],
    }
    # Of what is in it, so that the same sources have the same number.
    whole["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(whole)).urn
    return json.dumps(whole, indent=1)


def component(crate, purl, sums):
    said = {
        "type": "library",
        "bom-ref": purl[crate["id"]],
        "name": crate["name"],
        "version": crate["version"],
        "purl": purl[crate["id"]],
        "licenses": [{"expression": (crate["license"] or "").replace(" / ", " OR ").replace("/", " OR ")}],
    }
    if (crate["name"], crate["version"]) in sums:
        content = sums[crate["name"], crate["version"]]
        said["hashes"] = [{"alg": "SHA-256", "content": content}]
    if crate["repository"]:
        said["externalReferences"] = [{"type": "vcs", "url": crate["repository"]}]
    return said


def checksums():
    lock = (HERE / "Cargo.lock").read_text()
    entry = r'^name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"'
    return {(name, version): sum_ for name, version, sum_ in re.findall(entry, lock, re.M)}


def epoch():
    """The time that is written into packages."""
    return os.environ.get("SOURCE_DATE_EPOCH", "0")


if __name__ == "__main__":
    main()
