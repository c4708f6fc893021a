"""What applications that are written in Python take for a credential.

Arguments: the protocols, dialect/testdata/believe/protocols.json, and a list
of what goes on of messages. Prints the list of what is found in each.
"""

import base64
import json
import re
import sys

INNER = "~json"


def look_in(value, path):
    """Return the value at the end of a path, None if there is none."""
    for i, step in enumerate(path):
        if step == INNER:
            if not isinstance(value, str):
                return None
            try:
                return look_in(json.loads(value), path[i + 1 :])
            except (ValueError, RecursionError):
                return None
        if isinstance(value, list):
            if not re.fullmatch("[0-9]+", step) or int(step) >= len(value):
                return None
            value = value[int(step)]
        elif isinstance(value, dict):
            if re.fullmatch("[0-9]+", step):
                return None
            value = value.get(step)
        else:
            return None
    return value


def bearer(text):
    """Return a credential without the scheme that stands in front of it."""
    return re.sub("^bearer +", "", text.strip(), flags=re.IGNORECASE)


def texts(protocol, data, binary):
    """Return what an application may decode from the bytes of a message.

    It strips what is nothing but JSON.
    """
    found = [data] if binary else []
    for encoding in ("utf-8", "utf-8-sig"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            text = data.decode(encoding, "replace")
        found.append(text)
        if "head" not in protocol:
            found.append(text.strip())
    return found


def records(protocol, text):
    """Return the JSON of each record of a message."""
    if isinstance(text, bytes):
        if "head" in protocol or "separator" in protocol:
            return []
        return [text]
    head = re.compile(protocol.get("python", protocol.get("head", "^")))
    found = []
    for record in text.split(protocol["separator"]) if protocol.get("separator") else [text]:
        at = head.match(record)
        if at is None:
            continue
        if protocol.get("python") and (int(record[0]), int(record[1])) != (4, 0):
            continue
        found.append(record[at.end() :])
    return found


def credentials_in(protocol, data, binary):
    """Return all credentials that somebody finds in a message."""
    found = set()
    if binary and protocol.get("text"):
        return []  # a binary message is none of the protocol's texts
    for text in texts(protocol, data, binary):
        for record in records(protocol, text):
            try:
                value = json.loads(record)
            except (ValueError, RecursionError):
                continue
            for shape in protocol["shapes"]:
                if shape["is"] and look_in(value, shape["when"]) not in shape["is"]:
                    continue
                for place in shape["places"]:
                    credential = look_in(value, place)
                    if isinstance(credential, str) and bearer(credential):
                        found.add(bearer(credential))
    return sorted(found)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        protocols = json.load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        verdicts = json.load(file)
    found = [
        credentials_in(protocols[v["protocol"]], base64.b64decode(v["data"]), v["binary"])
        for v in verdicts
    ]
    json.dump(found, sys.stdout)


main()
