"""What applications do with two more clients of Python's, for the tests.

    more_clients.py pylibmc PORT             libmemcached from Python
    more_clients.py python-memcached PORT    the oldest of Python's own

Each makes a round trip of every command that it has, against an empty server: memcached itself, or a tallyd
with `missing_incr = "not_found"`.
"""

import sys


def with_pylibmc(port):
    import pylibmc

    client = pylibmc.Client([f"127.0.0.1:{port}"], behaviors={"cas": True, "tcp_nodelay": True})
    common(client)

    # What it words in its own way.
    for what, act in {
        "incr missing": lambda: client.incr("nothing"),
        "append to nothing": lambda: client.append("nothing", "x"),
    }.items():
        try:
            got = act()
        except pylibmc.NotFound:
            got = False
        expect(what, got, False)
    value, unique = client.gets("text")
    expect("cas", client.cas("text", "by cas", unique), True)
    expect("cas again", client.cas("text", "twice", unique), False)
    expect("get after cas", client.get("text"), "by cas")
    expect("incr_multi", client.incr_multi(["n1", "n2"], delta=2) is None, True)
    expect("get after incr_multi", client.get_multi(["n1", "n2"]), {"n1": 3, "n2": 4})
    expect("touch", client.touch("text", 100), True)
    [(_, figures)] = client.get_stats()
    expect("get_stats", int(figures["cmd_get"]) > 0, True)
    expect("flush_all", client.flush_all(), True)
    expect("get after it", client.get("text"), None)
    client.disconnect_all()


def with_python_memcached(port):
    import memcache

    client = memcache.Client([f"127.0.0.1:{port}"], cache_cas=True, debug=1)
    common(client)

    expect("incr missing", client.incr("nothing"), None)
    expect("append to nothing", bool(client.append("nothing", "x")), False)
    expect("gets", client.gets("text"), "a-text-z")
    expect("cas", bool(client.cas("text", "by cas")), True)
    other = memcache.Client([f"127.0.0.1:{port}"])
    client.gets("text")
    other.set("text", "by another")
    expect("cas of what another changed", bool(client.cas("text", "x")), False)
    expect("touch", bool(client.touch("text", 100)), True)
    expect("touch missing", bool(client.touch("nothing", 100)), False)
    [(_, figures)] = client.get_stats()
    expect("get_stats", int(figures["cmd_get"]) > 0, True)
    expect("get_slab_stats", len(client.get_slab_stats()), 1)
    expect("flush_all", client.flush_all(), None)
    expect("get after it", client.get("text"), None)
    client.disconnect_all()


def common(client):
    """What both have under the same names."""
    for name, value in {
        "text": "café",
        "bytes": bytes(range(256)),
        "number": 7,
        "object": {"a": [1, 2.5, None]},
        "large": "x" * 900_000,
    }.items():
        expect(f"set {name}", bool(client.set("value", value)), True)
        expect(f"get {name}", client.get("value"), value)
    expect("get missing", client.get("nothing"), None)
    expect("add", bool(client.add("added", "1st")), True)
    expect("add again", bool(client.add("added", "2nd")), False)
    expect("replace", bool(client.replace("added", "3rd")), True)
    expect("get replaced", client.get("added"), "3rd")
    expect("set", bool(client.set("text", "text")), True)
    expect("append", bool(client.append("text", "-z")), True)
    expect("prepend", bool(client.prepend("text", "a-")), True)
    expect("get both", client.get("text"), "a-text-z")
    expect("set number", bool(client.set("number", 10)), True)
    expect("incr", client.incr("number", 5), 15)
    expect("decr", client.decr("number", 4), 11)
    expect("set_multi", client.set_multi({"n1": 1, "n2": 2}), [])
    expect("get_multi", client.get_multi(["n1", "n2", "nothing"]), {"n1": 1, "n2": 2})
    expect("delete", bool(client.delete("added")), True)
    expect("get deleted", client.get("added"), None)
    expect("set with an expiry", bool(client.set("short", "x", time=100)), True)
    expect("get it", client.get("short"), "x")
    expect("delete_multi", bool(client.delete_multi(["short", "value"])), True)
    expect("get_multi after it", client.get_multi(["short", "value"]), {})


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r:.200}, wanted {wanted!r:.200}")


if __name__ == "__main__":
    {"pylibmc": with_pylibmc, "python-memcached": with_python_memcached}[sys.argv[1]](
        int(sys.argv[2])
    )
