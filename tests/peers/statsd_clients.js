// What applications do with the npm modules `hot-shots` and `statsd-client`, for the tests.
//
//     statsd_clients.js UDP-PORT TCP-PORT
//
// What is to be found then stands in tests/it/peers/statsd.rs.

'use strict';

const HotShots = require('hot-shots');
const StatsDClient = require('statsd-client');

const [udp, tcp] = process.argv.slice(2).map(Number);
const fail = (error) => {
  console.error(error);
  process.exit(1);
};
const closed = (client) => new Promise((done) => client.close(done));

async function hotShots(prefix, options) {
  const client = new HotShots({ host: '127.0.0.1', prefix, errorHandler: fail, ...options });
  client.increment('orders');
  client.increment('orders', 4, ['region:eu']);
  client.increment('orders', 5, { region: 'eu' });
  client.decrement('orders');
  client.gauge('queue', 17.5);
  client.gaugeDelta('queue', 3);
  client.gaugeDelta('queue', -1);
  client.timing('render', 320);
  client.histogram('render', 310);
  client.distribution('render', 300);
  for (const user of ['kim', 'sam', 'kim']) {
    client.unique('users', user);
  }
  if (options.telegraf) {
    // It has no events for Telegraf.
    return closed(client);
  }
  client.check('up', client.CHECKS.CRITICAL, { message: 'no answer' }, ['host:web-1']);
  client.event(`${prefix} shop 2.1`, 'to eu1', { hostname: 'web-1' });
  return closed(client);
}

async function statsdClient() {
  const client = new StatsDClient({ host: '127.0.0.1', port: udp, prefix: 'sc' });
  client.increment('orders', 4);
  client.decrement('orders', 1);
  client.counter('orders', 2);
  client.gauge('queue', 17);
  client.gaugeDelta('queue', 3);
  client.gaugeDelta('queue', -5);
  client.timing('render', 320);
  client.histogram('render', 310);
  client.set('users', 'kim');
  client.increment('tagged', 1, { region: 'eu', beta: 'yes' });
  await new Promise((done) => setTimeout(done, 200));
  client.close();
}

async function main() {
  await hotShots('hs.', { port: udp });
  await hotShots('hs.packed.', { port: udp, maxBufferSize: 1400 });
  await hotShots('hs.tcp.', { port: tcp, protocol: 'tcp' });
  await hotShots('hs.telegraf.', { port: udp, telegraf: true });
  await statsdClient();
}

main().catch(fail);
