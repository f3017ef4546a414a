/**
 * The page of one node: asks for its snapshot every second and shows it. It keeps nothing but a
 * minute of history, and can change nothing on the node.
 */
/** @import { NodeSnapshot } from '../../snapshot.ts' */
import { banners } from './banners.js';
import { bgp } from './bgp.js';
import { counters, flowTables } from './counters.js';
import { byId, setAttribute, setText } from './dom.js';
import { overview } from './overview.js';
import { startPolling } from './poll.js';
import { peers } from './peers.js';
import { Rates } from './rates.js';
import { reports } from './reports.js';
import { services } from './services.js';
import { vips } from './vips.js';

/** How often ages are shown anew while no snapshot comes. */
const TICK_MS = 1_000;

const rates = new Rates();
const views = [overview(), vips(), bgp(), peers(), services(), flowTables(), counters(), reports()];
const showBanners = banners(() => {
  polling.now();
});

/** @type {NodeSnapshot | undefined} */
let known;
/** When the newest snapshot and the last answer came, by this browser's clock: the node's may differ. */
let newestAtMs = 0;
let answeredAtMs = 0;
/** @type {{ message: string, retryAtMs: number } | undefined} */
let failure;

const polling = startPolling({
  url: 'api/v1/snapshot',
  show(snapshot) {
    failure = undefined;
    answeredAtMs = performance.now();
    if (rates.add(snapshot)) {
      known = snapshot;
      newestAtMs = answeredAtMs;
      for (const show of views) show(snapshot, rates);
    }
    showConnection();
  },
  failed(message, retryInMs) {
    failure = { message, retryAtMs: performance.now() + retryInMs };
    showConnection();
  },
});

setInterval(() => {
  if (!document.hidden) showConnection();
}, TICK_MS);

function showConnection() {
  const nowMs = performance.now();
  const link = byId('link');
  showBanners(known, {
    dataAgeMs: known === undefined ? undefined : nowMs - newestAtMs,
    stillMs: answeredAtMs - newestAtMs,
    failure: failure?.message,
    retryInMs: Math.max(0, (failure?.retryAtMs ?? nowMs) - nowMs),
  });
  setText(
    link,
    failure === undefined ? (known === undefined ? 'connecting' : 'live') : 'no answer',
  );
  setAttribute(
    link,
    'data-tone',
    failure === undefined ? (known === undefined ? 'idle' : 'ok') : 'bad',
  );
  setAttribute(byId('main'), 'data-stale', failure === undefined ? null : '');
}
