<?php
// What an application does with PHP's memcached extension, for the tests.
//
//     client.php burst PORT      increments `errors` 50 times in a second; prints when, as JSON
//     client.php commands PORT   round trips of every basic command against an empty server
//
// `commands` holds for memcached itself and for a tallyd with `missing_incr = "not_found"`.

declare(strict_types=1);

const TIMES = 50;

// A warning of the extension is a failure too.
set_error_handler(function (int $level, string $message): bool {
    fail("PHP says: $message");
});

function connect(int $port): Memcached
{
    $client = new Memcached();
    $client->setOption(Memcached::OPT_CONNECT_TIMEOUT, 10_000);
    $client->setOption(Memcached::OPT_POLL_TIMEOUT, 10_000);
    $client->addServer('127.0.0.1', $port);
    return $client;
}

function burst(int $port): void
{
    $client = connect($port);
    $first = microtime(true);
    for ($count = 1; $count <= TIMES; $count++) {
        $wait = $first + ($count - 1) / TIMES - microtime(true);
        usleep((int) max(0, $wait * 1e6));
        expect('increment', $client->increment('errors'), $count);
    }
    $last = microtime(true);
    echo json_encode(['first' => $first, 'last' => $last]), "\n";
}

function commands(int $port): void
{
    $client = connect($port);
    $ended = fn (int $code) => expect('result code', $client->getResultCode(), $code);

    // Values come back with their types: the extension keeps those in the flags.
    $values = [
        'text' => "caf\u{e9}",
        'empty' => '',
        'line ends' => "a\r\nb\r\nEND\r\n",
        'every byte' => implode('', array_map('chr', range(0, 255))),
        'integer' => 42,
        'negative' => -42,
        'float' => 2.5,
        'true' => true,
        'false' => false,
        'array' => ['a' => [1, 2.5, null], 'b' => 'text'],
        'compressed' => str_repeat('compressible ', 10_000),
        'large' => random_bytes(1_000_000),
    ];
    foreach ($values as $name => $value) {
        expect("set $name", $client->set('value', $value), true);
        expect("get $name", $client->get('value'), $value);
    }
    expect('get missing', $client->get('nothing'), false);
    $ended(Memcached::RES_NOTFOUND);
    expect('get with a callback', $client->get('nothing', fn () => false), false);
    $longest = str_repeat('k', 250);
    expect('longest key', $client->set($longest, 'v'), true);
    expect('get longest key', $client->get($longest), 'v');

    // Conditions.
    expect('add', $client->add('added', '1st'), true);
    expect('add again', $client->add('added', '2nd'), false);
    $ended(Memcached::RES_NOTSTORED);
    expect('replace', $client->replace('added', '3rd'), true);
    expect('replace missing', $client->replace('nothing', 'v'), false);
    expect('get replaced', $client->get('added'), '3rd');

    // The unique number changes with the value, and only then.
    $extended = fn () => $client->get('added', null, Memcached::GET_EXTENDED);
    $before = $extended();
    expect('gets', $before['value'], '3rd');
    expect('gets again', $extended(), $before);
    $client->set('added', '4th');
    expect('gets after set', $extended()['cas'] === $before['cas'], false);

    // Numbers. Over the text protocol an initial value is refused by the extension itself.
    expect('increment missing', $client->increment('number'), false);
    $ended(Memcached::RES_NOTFOUND);
    expect('decrement missing', $client->decrement('number'), false);
    expect('set a number', $client->set('number', 10), true);
    expect('increment', $client->increment('number'), 11);
    expect('increment by', $client->increment('number', 4), 15);
    expect('decrement', $client->decrement('number'), 14);
    expect('get a number', $client->get('number'), 14);
    expect('decrement below zero', $client->decrement('number', 100), 0);
    expect('increment of text', $client->increment('added'), false);

    // Several at once.
    $many = [];
    for ($n = 0; $n < 100; $n++) {
        $many["many$n"] = ['n' => $n];
    }
    expect('setMulti', $client->setMulti($many), true);
    expect('getMulti', $client->getMulti([...array_keys($many), 'nothing']), $many);
    expect('getDelayed', $client->getDelayed(array_keys($many), true), true);
    $fetched = array_column($client->fetchAll(), 'value', 'key');
    ksort($fetched);
    ksort($many);
    expect('fetchAll', $fetched, $many);
    $gone = $client->deleteMulti(['many0', 'many1', 'nothing']);
    expect('deleteMulti', [$gone['many0'], $gone['many1']], [true, true]);
    expect('deleteMulti missing', $gone['nothing'], Memcached::RES_NOTFOUND);
    expect('getMulti after it', $client->getMulti(['many0', 'many1', 'many2']), ['many2' => ['n' => 2]]);

    // The end of a value.
    expect('delete', $client->delete('added'), true);
    expect('delete again', $client->delete('added'), false);
    $ended(Memcached::RES_NOTFOUND);
    expect('touch', $client->touch('many2', 100), true);
    expect('touch missing', $client->touch('nothing', 100), false);
    $ended(Memcached::RES_NOTFOUND);
    expect('get after touch', $client->get('many2'), ['n' => 2]);
    expect('set into the past', $client->set('many2', 'v', time() - 10), true);
    expect('get after it', $client->get('many2'), false);

    // Without answers, and with requests held back until one is needed.
    $quiet = connect($port);
    $quiet->setOption(Memcached::OPT_NOREPLY, true);
    $quiet->setOption(Memcached::OPT_BUFFER_WRITES, true);
    for ($n = 0; $n < 100; $n++) {
        $quiet->set("quiet$n", $n);
    }
    $quiet->flushBuffers();
    $quiet->quit();
    $found = 0;
    for ($try = 0; $try < 500 && $found < 100; $try++) {
        $found = count($client->getMulti(array_map(fn ($n) => "quiet$n", range(0, 99))));
        usleep(10_000);
    }
    expect('set without answers', $found, 100);

    // The server.
    $server = "127.0.0.1:$port";
    expect('getVersion', preg_match('/^\d+\.\d+\.\d+$/', $client->getVersion()[$server]), 1);
    $stats = $client->getStats()[$server];
    expect('getStats', $stats['curr_connections'] >= 1 && $stats['cmd_get'] > 0, true);
    expect('flush', $client->flush(), true);
    expect('getMulti after it', $client->getMulti(['value', 'number', 'many50']), []);
    $client->quit();
}

function expect(string $what, mixed $got, mixed $wanted): void
{
    if ($got !== $wanted) {
        [$got, $wanted] = [var_export($got, true), var_export($wanted, true)];
        fail(sprintf('%s: got %.200s, wanted %.200s', $what, $got, $wanted));
    }
}

function fail(string $message): never
{
    fwrite(STDERR, "$message\n");
    exit(1);
}

match ($argv[1]) {
    'burst' => burst((int) $argv[2]),
    'commands' => commands((int) $argv[2]),
};
