"""One request of the control socket: jobs.py SOCKET REQUEST [NAME=VALUE]...; numbers and true are no texts.

Prints the answer's result as JSON, or the error's code and message, then with status 1.
"""

import json
import socket
import sys


def value(text):
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else text


def main():
    path, request, *rest = sys.argv[1:]
    parameters = {name: value(text) for name, text in (pair.split("=", 1) for pair in rest)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        lines = connection.makefile("rw", encoding="utf-8")
        lines.readline()
        lines.write(json.dumps({"request": request, "parameters": parameters}) + "\n")
        lines.flush()
        answer = {"progress": None}
        while "progress" in answer:
            answer = json.loads(lines.readline())
    if "result" in answer:
        print(json.dumps(answer["result"]))
        return 0
    print(answer["error"]["code"], answer["error"]["message"])
    return 1


sys.exit(main())
