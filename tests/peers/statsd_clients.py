"""What applications do with Python's StatsD clients, for the tests.

    statsd_clients.py statsd UDP-PORT TCP-PORT        the module `statsd`, over both
    statsd_clients.py datadog UDP-PORT SOCKET         the module `datadog`, over UDP and a unix socket

What is to be found then stands in tests/it/peers/statsd.rs.
"""

import sys
import time


def etsy(udp, tcp):
    from statsd import StatsClient, TCPStatsClient

    client = StatsClient("127.0.0.1", int(udp), prefix="py")
    client.incr("orders")
    client.incr("orders", 4)
    client.decr("orders", 2)
    client.gauge("queue", 17)
    client.gauge("queue", 3, delta=True)
    client.gauge("below", -5)
    client.timing("render", 320)
    with client.timer("render"):
        pass
    for user in ["kim", "sam", "kim"]:
        client.set("users", user)
    with client.pipeline() as pipe:
        pipe.incr("piped", 2)
        pipe.gauge("piped.g", 1.5)
        pipe.incr("piped", 3)

    client = TCPStatsClient("127.0.0.1", int(tcp), prefix="py.tcp", timeout=10)
    for _ in range(1000):
        client.incr("orders")
    client.gauge("queue", 2.5)
    client.close()


def datadog(udp, socket):
    from datadog.dogstatsd import DogStatsd

    for prefix, where in [
        ("dd", {"host": "127.0.0.1", "port": int(udp)}),
        ("dd.unix", {"socket_path": socket}),
    ]:
        # Without a timeout it drops what the socket has no room for at once.
        options = {"disable_telemetry": True, "constant_tags": ["env:test"], "socket_timeout": 10}
        client = DogStatsd(namespace=prefix, **where, **options)
        client.increment("orders", 2, tags=["region:eu", "beta"])
        client.increment("orders", 3, tags=["beta", "region:eu"])
        client.gauge("queue", 17.25)
        client.histogram("render", 320)
        client.distribution("render", 310)
        client.timing("render", 300)
        with client.timed("timed"):
            pass
        client.set("users", "kim")
        client.set("users", "sam")
        client.service_check("up", client.WARNING, message="slow | but #up:1")
        client.count_with_timestamp("dated", 4, int(time.time()))
        client.gauge_with_timestamp("dated.g", 5, int(time.time()))
        client.event(f"{prefix} shop 2.1", "to eu1\nand eu2", hostname="web-1", tags=["a:b"])
        client.flush()
        client.close_socket()


if __name__ == "__main__":
    {"statsd": etsy, "datadog": datadog}[sys.argv[1]](*sys.argv[2:])
