#!/bin/bash
# An operator's hour on a machine with systemd (`machine.sh`): the blocks of README's chapter, word by word, in
# /run/package/hour. Beside it are the package, those of Nagios (unpacked ones would not do), and the script of the receiver that
# stands for the phone.
#
# What stands in for the world outside: `apt` installs what lies here, `cargo` and `conf/debian/build` find their work done,
# `sudo` is root already, and the phone's address is that of the receiver.
set -Eeuo pipefail
trap 'echo "FAILED: $BASH_COMMAND"; tail -n 20 /run/package/phone; systemctl status --no-pager tallyd nagios4 || true' ERR

stand_ins() {
    mkdir -p /usr/local/bin
    cat > /usr/local/bin/sudo << 'END'
#!/bin/bash
if [[ $1 == -u ]]; then
    exec setpriv --reuid="$2" --regid="$2" --init-groups "${@:3}"
fi
exec "$@"
END
    cat > /usr/local/bin/apt << 'END'
#!/bin/bash
set -e
for what in "${@:2}"; do
    case $what in
        ./*.deb) dpkg -i "$what" ;;
        nagios4) dpkg --force-depends -i /run/package/debs/*.deb ;;
        # With Nagios, or here before.
        build-essential | nagios-nrpe-plugin | prometheus) ;;
        *) echo "there is no package $what here"; exit 1 ;;
    esac
done
END
    printf '#!/bin/sh\n' > /usr/local/bin/cargo
    chmod 755 /usr/local/bin/{sudo,apt,cargo}
    mkdir -p /tmp/clone/conf/debian /tmp/clone/target/debian
    printf '#!/bin/sh\n' > /tmp/clone/conf/debian/build
    chmod 755 /tmp/clone/conf/debian/build
    cp /run/package/first.deb /tmp/clone/target/debian/tallyd_0.1.0-1_amd64.deb
    export PATH=/usr/local/bin:$PATH
    cd /tmp/clone
}

# Takes what is posted to it, a line each.
phone() {
    cat > /tmp/phone.py << 'END'
import http.server
class Phone(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/run/package/phone", "ab") as file:
            file.write(body + b"\n")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", 9900), Phone).serve_forever()
END
    : > /run/package/phone
    /usr/bin/python3 /tmp/phone.py &
}

eventually() {
    local tries
    for ((tries = 0; tries < 150; tries++)); do
        if "$@" > /dev/null; then return; fi
        sleep 1
    done
    echo "it did not come to: $*"
    return 1
}

rang() {
    grep -q "$1" /run/package/phone
}

# Nagios has the rule for critical, by tallyd's own plugin.
nagios_knows() {
    awk '/^servicestatus/ { mine = 0 } /service_description=errors$/ { mine = 1 }
        mine && /current_state=2$/ { critical = 1 } mine && critical && /plugin_output=CRITICAL - errors-high: / { found = 1 }
        END { exit !found }' /var/lib/nagios4/status.dat
}

stand_ins
phone
for block in /run/package/hour/*; do
    printf '\n== %s\n' "$(basename "$block")"
    sed -i 's|https://ntfy.sh/|http://127.0.0.1:9900/|' "$block"
    bash -ec "$(cat "$block")" | tee /run/package/said
    case $(basename "$block") in
        2-*) rang 'TEST' || rang 'test' ;;
        3-*)
            eventually rang 'errors-high'
            grep -q 'errors-high *critical' /run/package/said
            ;;
        4-*) eventually nagios_knows ;;
        5-*) grep -q '"60"' /run/package/said ;;
        6-*)
            grep -qE ' 60( |$)' /run/package/said
            systemctl is-active tallyd
            ;;
    esac
done
echo 'ALL WELL'
