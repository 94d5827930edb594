"""A connector as a child process: stock from a CSV file, orders as JSON files. See PROTOCOL.md."""
import csv, json, os, sys, time

SPEC = {"protocol": 1, "name": os.path.basename(os.getcwd()), "streams": {"stock": ["read"], "orders": ["write"]}}
given = {}

def change(row):
    if not (row.get("sku") and (row.get("quantity") or "").isdigit()):
        return {"id": row.get("sku") or "row", "rejected": {"code": "bad_row", "message": "no SKU or no number"}}
    return {"id": row["sku"], "record": {"sku": row["sku"], "on_hand": row["quantity"]}}

def pull(ask):  # everything each time: the cursor has nothing to remember
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with open(given["csv"], newline="", encoding="utf-8") as file:
        changes = [change(row) for row in csv.DictReader(file)]
    return {"changes": changes, "cursor": {"kind": "token", "token": "all"}, "read_at": now, "complete": True}

def file_of(delivery):  # one name for one reference: asked twice, it is written once
    safe = "".join(c if c.isalnum() else "_%x_" % ord(c) for c in delivery["reference"])
    return os.path.join(given["orders"], safe + ".json")

def find(ask):
    name = file_of(ask["delivery"])
    return {"found": {"remote_id": os.path.basename(name)} if os.path.exists(name) else None}

def write(delivery):
    name, existed = file_of(delivery), os.path.exists(file_of(delivery))
    if delivery["operation"] != "create" or not existed:
        with open(name + ".part", "w", encoding="utf-8") as file:
            json.dump({"operation": delivery["operation"], "order": delivery["record"]}, file)
        os.replace(name + ".part", name)  # whole or not at all
    return {"delivery": delivery["id"], "delivered": {"remote_id": os.path.basename(name), "existed": existed}}

CALLS = {"hello": lambda ask: SPEC, "configure": lambda ask: given.update(ask["settings"]) or {},
         "probe": lambda ask: {"says": "%d rows" % len(pull(ask)["changes"])}, "pull": pull, "peek": pull,
         "find": find, "deliver": lambda ask: {"outcomes": [write(delivery) for delivery in ask["batch"]]}}

for ask in map(json.loads, sys.stdin):
    if ask["call"] in CALLS:  # `cancel` needs no answer; after `shutdown` the input ends
        try:
            answer = {"result": CALLS[ask["call"]](ask)}
        except OSError as error:  # the disk: nothing was renamed, so nothing happened
            answer = {"fault": {"class": "retry", "code": "disk", "effect": "none", "message": type(error).__name__}}
        print(json.dumps({"id": ask["id"], **answer}), flush=True)
