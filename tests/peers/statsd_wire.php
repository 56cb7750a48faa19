<?php
// Lines as PHP applications write them without a module, one datagram each, for the tests.
//
//     statsd_wire.php UDP-PORT

$socket = fsockopen('udp://127.0.0.1', (int) $argv[1]);
foreach (['php.orders:1|c', 'php.orders:1|c|@0.1', "php.queue:17|g\nphp.queue:-3|g", 'php.render:320|ms'] as $line) {
    if (fwrite($socket, $line) !== strlen($line)) {
        exit(1);
    }
}
