"""An agent that speaks bare JSON-RPC on stdio and misbehaves in the one way that its argument names."""

import json
import os
import subprocess
import sys
import time

BEHAVIOUR = sys.argv[1]
SESSION = "s1"


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def update(**content):
    send(method="session/update", params={"sessionId": SESSION, "update": content})


def say(text):
    update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})


def receive():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def ask(method, **params):
    """A request to the client and its answer."""
    send(id=900, method=method, params={"sessionId": SESSION, **params})
    while True:
        answer = receive()
        if answer.get("id") == 900 and "method" not in answer:
            return answer


def codex(**meta):
    update(sessionUpdate="session_info_update", _meta={"codex": meta})


def turn(id):
    end = {"stopReason": "end_turn"}
    match BEHAVIOUR:
        case "silent-error":
            codex(error={"message": "401 from the model", "turnId": "t", "willRetry": False})
        case "retry-warning":
            codex(error={"message": "503, trying again", "turnId": "t", "willRetry": True})
        case "system-error":
            codex(threadStatus={"type": "systemError"})
        case "model-error":
            send(id=id, error={"code": -32603, "message": "Internal error", "data": {"details": "529 overloaded"}})
            return
        case "logged-out":
            send(id=id, error={"code": -32000, "message": "Authentication required"})
            return
        case "cancels-itself":
            end = {"stopReason": "cancelled"}
        case "max-tokens":
            end = {"stopReason": "max_tokens"}
        case "odd-stop-reason":
            end = {"stopReason": "fed_up"}
        case "odd-updates":
            update(sessionUpdate="mood_update", mood="good")
            update(sessionUpdate="agent_message_chunk")
            update(sessionUpdate="tool_call", toolCallId="t1", title="Look", kind="ponder", content=[{"type": "smell"}])
            send(method="session/update", params=None)
            say("still here")
        case "noisy-stdout":
            sys.stdout.write("npm warn: this is no JSON\n\n[1, 2]\n")
            say("hello")
        case "asks-for-files":
            for method, params in [
                ("fs/write_text_file", {"path": "/tmp/x", "content": "x"}),
                ("fs/read_text_file", {"path": "/tmp/x"}),
                ("terminal/create", {"command": "ls"}),
            ]:
                say(f"{method} {ask(method, **params).get('error', {}).get('code')}\n")
        case "odd-options":
            answer = ask(
                "session/request_permission",
                toolCall={"toolCallId": "t9", "title": "Format the disk", "kind": "execute"},
                options=[{"optionId": "n", "name": "Never", "kind": "reject_always"}],
            )
            say(json.dumps(answer["result"]["outcome"]))
        case "gives-up-when-denied":
            ask(
                "session/request_permission",
                toolCall={"toolCallId": "t1", "title": "Push", "kind": "execute"},
                options=[{"optionId": "n", "name": "No", "kind": "reject_once"}],
            )
            end = {"stopReason": "cancelled"}
        case "usage":
            update(sessionUpdate="usage_update", used=1200, size=8000, cost={"amount": 0.25 * id, "currency": "USD"})
            end["usage"] = {"totalTokens": 30, "inputTokens": 20, "outputTokens": 10}
        case "endless-line":
            sys.stdout.write("x" * (2**20))
            sys.stdout.flush()
            time.sleep(60)
        case "closes-output":
            os.close(1)
            time.sleep(60)
        case "deaf":
            time.sleep(60)
        case "child-holds-stdout":
            subprocess.Popen(["sleep", "60"])
            sys.stderr.write("the last words\n")
            sys.stderr.flush()
            os._exit(7)
    send(id=id, result=end)


def main():
    match BEHAVIOUR:
        case "exits-at-once":
            sys.exit("no licence found")
        case "exits-127":
            os.execvp("sh", ["sh", "-c", "no-such-agent-xyz acp"])
        case "mute":
            time.sleep(60)
        case "floods-stderr":
            sys.stderr.write("noise " * 500_000 + "the end")
            sys.stderr.flush()
    while True:
        message = receive()
        method, id = message.get("method"), message.get("id")
        if method == "initialize":
            if BEHAVIOUR == "reports-capabilities":
                sys.stderr.write(json.dumps(message["params"]))
                sys.stderr.flush()
            version = 2 if BEHAVIOUR == "version-2" else "one" if BEHAVIOUR == "odd-version" else 1
            takes = {"promptCapabilities": {"image": BEHAVIOUR == "takes-pictures"}}
            send(id=id, result={"protocolVersion": version, "agentCapabilities": takes})
        elif method == "session/new":
            if BEHAVIOUR == "needs-login":
                send(id=id, error={"code": -32000, "message": "Authentication required"})
            elif BEHAVIOUR == "dies-in-session-new":
                os._exit(3)
            else:
                send(id=id, result={"sessionId": SESSION})
        elif method == "session/set_mode":
            if message["params"]["modeId"] == "no-such-mode":
                send(id=id, error={"code": -32602, "message": "Invalid params", "data": {"details": "no such mode"}})
            else:
                sys.stderr.write(f"mode {message['params']['modeId']}")
                sys.stderr.flush()
                send(id=id, result={})
        elif method == "session/prompt":
            if BEHAVIOUR in ("echoes", "takes-pictures"):
                say(json.dumps(message["params"]["prompt"]))
            turn(id)


main()
