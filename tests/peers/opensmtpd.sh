#!/bin/sh
# Debian's OpenSMTPD from an unpacked package ($1), on port $3 of loopback. It takes mail for anybody at
# example.org and puts that of the user oncall into $2/oncall/Maildir, as a local delivery does.
#
# To be run as root by `unshare --mount`: users, spool and helpers that it wants to find in the system
# are mounted over it in this process's own view, and end with it.
set -eu
package=$1 dir=$2 port=$3

mount --make-rprivate /
for file in passwd group; do
    cp "/etc/$file" "$dir/$file"
done
cat >> "$dir/passwd" << END
opensmtpd:x:64001:64001::/var/lib/opensmtpd/empty:/usr/sbin/nologin
opensmtpq:x:64002:64002::/var/lib/opensmtpd/empty:/usr/sbin/nologin
oncall:x:64003:64003::$dir/oncall:/bin/sh
END
printf 'opensmtpd:x:64001:\nopensmtpq:x:64002:\noncall:x:64003:\n' >> "$dir/group"
mkdir "$dir/oncall"
chown 64003:64003 "$dir/oncall"
cat > "$dir/smtpd.conf" << END
listen on 127.0.0.1 port $port hostname relay.test
action "local" maildir "$dir/oncall/Maildir"
match from local for domain "example.org" action "local"
END

mount --bind "$dir/passwd" /etc/passwd
mount --bind "$dir/group" /etc/group
mount -t tmpfs -o size=16m tmpfs /var/spool
mkdir -m 711 /var/spool/smtpd
mkdir -p "$dir/lib/opensmtpd/empty"
chmod 755 "$dir/lib" "$dir/lib/opensmtpd" "$dir/lib/opensmtpd/empty"
mount --bind "$dir/lib" /var/lib
mount -t tmpfs -o size=16m tmpfs /usr/libexec
cp -a "$package/usr/libexec/opensmtpd" /usr/libexec/
mount -t tmpfs -o size=1m tmpfs /run
exec "$package/usr/sbin/smtpd" -d -f "$dir/smtpd.conf"
