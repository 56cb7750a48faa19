// What an application does with the npm module `memcached`, for the tests.
//
//     client.js PORT     a round trip of every command that the module has, against an empty server
//
// It holds for memcached itself and for a tallyd with `missing_incr = "not_found"`.

'use strict';

const { promisify } = require('node:util');
const assert = require('node:assert');
const Memcached = require('memcached');

const client = new Memcached(`127.0.0.1:${process.argv[2]}`, { retries: 0, timeout: 10000 });
const ask = (command, ...words) => promisify(client[command].bind(client))(...words);

async function expect(wanted, command, ...words) {
  const got = await ask(command, ...words).catch((error) => `error: ${error.message}`);
  assert.deepStrictEqual(got, wanted, `${command} ${words.join(' ').slice(0, 80)}`);
}

async function main() {
  await expect(true, 'set', 'text', 'café', 100);
  await expect('café', 'get', 'text');
  await expect(undefined, 'get', 'nothing');
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  await expect(true, 'set', 'bytes', bytes, 0);
  await expect(bytes, 'get', 'bytes');
  await expect(true, 'set', 'object', { a: [1, null] }, 0);
  await expect({ a: [1, null] }, 'get', 'object');
  await expect(true, 'set', 'large', 'x'.repeat(900000), 0);
  await expect('x'.repeat(900000), 'get', 'large');

  await expect(true, 'add', 'added', '1st', 0);
  await expect('error: Item is not stored', 'add', 'added', '2nd', 0);
  await expect(true, 'replace', 'added', '3rd', 0);
  await expect('error: Item is not stored', 'replace', 'nothing', 'x', 0);
  await expect(true, 'append', 'added', '-z');
  await expect(true, 'prepend', 'added', 'a-');
  await expect('a-3rd-z', 'get', 'added');

  const { added, cas } = await ask('gets', 'added');
  assert.strictEqual(added, 'a-3rd-z');
  await expect(true, 'cas', 'added', 'by cas', cas, 0);
  await expect(false, 'cas', 'added', 'twice', cas, 0);
  await expect('by cas', 'get', 'added');

  await expect(true, 'set', 'number', 10, 0);
  await expect(15, 'incr', 'number', 5);
  await expect(11, 'decr', 'number', 4);
  await expect(false, 'incr', 'nothing', 1);
  await expect({ number: 11, added: 'by cas' }, 'getMulti', ['number', 'added', 'nothing']);
  await expect(true, 'touch', 'added', 100);
  await expect(false, 'touch', 'nothing', 100);
  await expect(true, 'del', 'added');
  await expect(false, 'del', 'added');

  // The module reads the last number of the line.
  const [version] = await ask('version');
  assert.match(version.version, /^\d+\.\d+\.\d+$/, JSON.stringify(version));
  const [figures] = await ask('stats');
  assert.ok(figures.cmd_get > 0, JSON.stringify(figures));
  const [settings] = await ask('settings');
  assert.ok(settings.maxconns > 0, JSON.stringify(settings));
  await ask('slabs');
  await ask('items');
  await expect([true], 'flush');
  await expect(undefined, 'get', 'number');
}

main().then(
  () => client.end(),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
