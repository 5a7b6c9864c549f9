#!/usr/bin/env python3
"""CHANGELOG.md as Debian writes it: changelog.py [VERSION]

What is not released yet stands under VERSION, or that of Cargo.toml.
"""

import email.utils
import os
import pathlib
import re
import sys
import textwrap
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
MAINTAINER = "The hawser authors <hawser@users.noreply.github.com>"


def main():
    cargo = (HERE / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.+)"', cargo, re.M)[1]
    version = sys.argv[1] if len(sys.argv) > 1 else version
    for title, body in releases((HERE / "CHANGELOG.md").read_text()):
        print(f"hawser ({version if title == 'Unreleased' else title[0]}) unstable; urgency=medium\n")
        for point in points(body):
            wrap = {"width": 78, "break_on_hyphens": False, "break_long_words": False}
            print(textwrap.fill(point, initial_indent="  * ", subsequent_indent="    ", **wrap))
        print(f"\n -- {MAINTAINER}  {date(title)}\n")


def releases(text):
    parts = re.split(r"^## \[(.+?)\](?: - (\S+))?.*$", text, flags=re.M)[1:]
    for name, day, body in zip(parts[::3], parts[1::3], parts[2::3]):
        yield ("Unreleased" if name == "Unreleased" else (name, day)), body


def points(body):
    """Each point in one line, without the marks of markdown."""
    for point in re.split(r"^- ", body, flags=re.M)[1:]:
        yield " ".join(point.split("\n###")[0].replace("`", "").split())


def date(title):
    moment = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    if title != "Unreleased" and title[1]:
        moment = time.mktime(time.strptime(title[1] + " UTC", "%Y-%m-%d %Z")) - time.timezone
    return email.utils.formatdate(moment)


if __name__ == "__main__":
    main()
