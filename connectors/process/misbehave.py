"""A connector that behaves badly in one way, for the tests: `misbehave.py HOW`. Standard library only."""
import json, os, subprocess, sys, time

HOW = sys.argv[1]
STREAMS = {"stock": ["read"], "orders": ["write"]}
BATCH, ID, CALL = [], 0, ""


def raw(data):
    os.write(1, data)


def say(**answer):
    raw(json.dumps(answer).encode() + b"\n")


def lives():
    with open("lives", "a+") as file:
        file.write("x")
        file.seek(0)
        return len(file.read())


def hello():
    streams = dict(STREAMS)
    life = lives()
    if HOW == "exits_at_once":
        sys.exit(3)
    if HOW == "never_says_hello":
        time.sleep(600)
    if HOW == "claims_a_stream" or (HOW == "changes_its_spec" and life > 1):
        streams["prices"] = ["read"]
    name = "other" if HOW == "has_another_name" else "guest"
    version = 2 if HOW == "speaks_another_version" else 1
    return {"protocol": version, "name": name, "streams": streams}


def good():
    """What a good child would answer."""
    if CALL == "deliver":
        return {"outcomes": [{"delivery": one["id"], "delivered": {"remote_id": "r-" + one["reference"]}} for one in BATCH]}
    if CALL == "find":
        return {"found": None}
    if CALL == "fetch":
        return {"changes": [{"id": one, "record": {"sku": one, "on_hand": "1"}} for one in ASK["ids"]]}
    if CALL == "probe":
        return {"says": " ".join(sorted(os.environ)) + " | " + " ".join(sys.argv[1:]) + " | " + os.path.basename(os.getcwd())}
    return {"changes": [{"id": "A", "record": {"sku": "A", "on_hand": "1"}}], "cursor": {"kind": "token", "token": "t"}}


def bad():
    if HOW == "dies":
        os._exit(7)
    elif HOW == "dies_at_first" and lives() == 2:
        os._exit(7)
    elif HOW == "hangs":
        time.sleep(600)
    elif HOW == "is_late":
        time.sleep(2.5)
        say(id=ID, result=good())
    elif HOW == "garbage":
        raw(b"Traceback (most recent call last):\n")
    elif HOW == "no_utf8":
        raw(b'{"id": %d, "result": {"says": "\xff\xfe"}}\n' % ID)
    elif HOW == "wrong_id":
        say(id=ID + 100, result=good())
    elif HOW == "twice":
        answer = json.dumps({"id": ID, "result": good()}).encode() + b"\n"
        raw(answer + answer)
    elif HOW == "neither":
        say(id=ID)
    elif HOW == "both":
        say(id=ID, result=good(), fault={"class": "retry", "code": "x", "message": "x"})
    elif HOW == "huge_line":
        while True:
            raw(b"x" * 65536)
    elif HOW == "endless_lines":
        while True:
            raw(b'{"id": 0, "result": {}}\n' * 1000)
    elif HOW == "endless_log":
        while True:
            os.write(2, b"noise\n" * 10000)
    elif HOW == "foreign_outcome":
        say(id=ID, result={"outcomes": [{"delivery": "dlv_of_somebody_else", "delivered": {"remote_id": "1"}}]})
    elif HOW == "too_few_outcomes":
        say(id=ID, result={"outcomes": []})
    elif HOW == "two_outcomes":
        say(id=ID, result={"outcomes": good()["outcomes"] * 2})
    elif HOW == "foreign_ids":
        say(id=ID, result={"changes": [{"id": "B", "absent": True}]})
    elif HOW == "too_few_ids":
        say(id=ID, result={"changes": []})
    elif HOW == "nothing":
        say(id=ID, result=None)
    elif HOW == "no_list":
        say(id=ID, result={"changes": {}, "outcomes": {}})
    elif HOW == "foreign_step":
        say(id=ID, captured={"delivery": "dlv_of_somebody_else", "step": "a", "value": 1})
    elif HOW == "bad_fault":
        say(id=ID, fault={"class": "fatal", "code": "x", "message": "x"})
    elif HOW == "tells_secrets":
        sys.stderr.write("login with %s\n" % given["token"])
        sys.stderr.flush()
        say(id=ID, fault={"class": "reject", "code": "refused", "message": 'no %s for "Ann Buyer" ann@example.test' % given["token"]})
    elif HOW == "one_bad_record":
        say(id=ID, result={"changes": [{"id": "A", "record": {"sku": "A", "on_hand": "1"}}, {"id": "B", "record": {"sku": 7}}, {"idd": 1}],
                           "cursor": {"kind": "token", "token": "t"}})
    elif HOW == "captures":
        say(id=ID, captured={"delivery": BATCH[0]["id"], "step": "draft", "value": {"id": 5}})
        told = json.loads(sys.stdin.readline())
        assert told == {"id": ID, "call": "durable", "step": "draft"}, told
        say(id=ID, result=good())
    elif HOW == "has_children":
        child = subprocess.Popen(["sleep", "600"])
        with open("grandchild", "w") as file:
            file.write(str(child.pid))
        os._exit(0)
    elif HOW == "is_deaf":
        pass
    else:
        say(id=ID, result=good())


given = {}
while True:
    line = sys.stdin.readline()
    if not line:
        break
    ASK = json.loads(line)
    ID, CALL, BATCH = ASK["id"], ASK["call"], ASK.get("batch", [])
    if CALL == "hello":
        say(id=ID, result=hello())
    elif CALL == "configure":
        given = ASK["secrets"]
        say(id=ID, result={})
        if HOW == "is_deaf":
            time.sleep(600)
    elif CALL == "shutdown":
        if HOW == "does_not_stop":
            time.sleep(600)
        with open("stopped", "w"):
            pass
        break
    elif CALL == "cancel":
        with open("cancelled", "w"):
            pass
    else:
        bad()
