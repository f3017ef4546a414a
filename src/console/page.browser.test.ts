/** The page in a real browser, over a real socket, against snapshots of the fixture. */
import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../lib/logger.ts';
import type { NodeSnapshot } from '../snapshot.ts';
import type { Scenario } from './fixture-plans.ts';
import { fixtureView } from './fixture.ts';
import { ConsoleServer } from './server.ts';

const CHROMIUM = '/usr/bin/chromium';
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
/** For what takes a few polls: the page asks less often where answers cost much. */
const PATIENT = { timeout: 90_000 };

/** Chromium breaks off its requests when an interface comes or goes, as other tests make them do. */
const OTHERS_FAULT = /ERR_NETWORK_CHANGED|the page did not load/;

let browser: Browser;
let server: ConsoleServer;
let url: string;
let scenario: Scenario;
/** Changes a snapshot on its way; most tests leave it as it is. */
let change: (snapshot: NodeSnapshot) => NodeSnapshot;
let asked: number;
let complaints: string[];

const fixture = fixtureView(() => scenario);
const view = {
  snapshot() {
    asked += 1;
    return change(fixture.snapshot());
  },
};

beforeAll(async () => {
  if (!existsSync(CHROMIUM)) {
    throw new Error(`${CHROMIUM} is missing: install the packages of setup/packages.txt`);
  }
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    timeout: PATIENT.timeout,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
});

afterAll(async () => {
  await browser.close();
});

beforeEach(async () => {
  scenario = 'usual';
  change = (snapshot) => snapshot;
  asked = 0;
  complaints = [];
  server = new ConsoleServer({ view, host: '127.0.0.1', port: 0, logger: silentLogger });
  url = `http://127.0.0.1:${(await server.start()).port}/`;
});

afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  await server.stop();
});

/** A page that has shown a snapshot; what its console and its policy complain of is kept. */
async function open(viewport = WIDE): Promise<Page> {
  const page = await newPage(viewport);
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return;
    if (!OTHERS_FAULT.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await visit(page);
  return page;
}

async function newPage(viewport = WIDE): Promise<Page> {
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(PATIENT.timeout);
  return page;
}

async function visit(page: Page): Promise<void> {
  await expect
    .poll(() => page.goto(url).catch((error: unknown) => error), PATIENT)
    .not.toBeInstanceOf(Error);
  await page.getByText('live', { exact: true }).waitFor();
}

/** Resolves after `count` more snapshots were asked for. */
async function polls(count: number): Promise<void> {
  const until = asked + count;
  await expect.poll(() => asked, PATIENT).toBeGreaterThanOrEqual(until);
}

describe('at a glance', () => {
  test('says which node this is, how it is, and why', async () => {
    const page = await open();
    expect(await page.locator('h1').innerText()).toBe('lb1 edge-fra');
    expect(await page.getByRole('heading', { level: 2 }).first().innerText()).toBe(
      'Announcing 3 of 4 VIPs',
    );
    expect(await page.title()).toBe('! lb1: Announcing 3 of 4 VIPs');
    const overview = await page.locator('.overview').innerText();
    expect(overview).toContain('withheld: 192.0.2.40');
    expect(overview).toContain('1 of 3 BGP sessions down');
    for (const fact of ['0.1.0', '12 d 9 h', 'native XDP', 'generic XDP', '3f9a2c10b7']) {
      expect(overview).toContain(fact);
    }
    const withheld = page.getByRole('row', { name: '192.0.2.40' });
    expect(await withheld.innerText()).toContain('withheld');
    expect(await withheld.innerText()).toContain(
      'tcp/192.0.2.40:587 has 1 of 2 needed backends up',
    );
    const announced = page.getByRole('row', { name: '192.0.2.53' });
    expect(await announced.innerText()).toMatch(/announced\s+2 d 7 h/);
    expect(complaints).toEqual([]);
  });

  test('says why a backend is down, and how its last checks went', async () => {
    const page = await open();
    const backend = page.getByRole('row', { name: 'web-5 10.20.4.15' });
    const text = await backend.innerText();
    expect(text).toContain('down');
    expect(text).toContain('http: status 503, expected 200 to 299');
    expect(text).toContain('02:16:3e:5a:04:0f');
    const strip = backend.getByRole('img', { name: /^Last 5 results/ }).last();
    expect(await strip.getAttribute('aria-label')).toBe('Last 5 results: pass pass fail fail fail');
  });

  test('shows sessions, flow tables and what was dropped', async () => {
    const page = await open();
    const peer = page.getByRole('row', { name: '10.20.0.2 AS 64513' });
    expect(await peer.innerText()).toMatch(/active\s+down\s+0\s+–/);
    const meter = page.getByRole('meter', { name: 'flows4 entries' });
    expect(await meter.getAttribute('aria-valuemax')).toBe('1048576');
    const drops = page.locator('.drops');
    expect(await drops.innerText()).toContain('A port of a VIP on which no service is configured');
    expect(await drops.innerText()).not.toContain('An invariant of the program does not hold');
    await drops.getByText('7 counters at zero').click();
    const text = () => drops.innerText();
    await expect.poll(text).toContain('An invariant of the program does not hold');
  });
});

describe('backends', () => {
  test('are shown with the mode in which packets reach them', async () => {
    const page = await open();
    const row = (name: string) => page.getByRole('row', { name });
    expect(await row('web-1 10.20.4.11').first().innerText()).toMatch(/02:16:3e:5a:04:0b\s+l2dsr/);
    expect(await row('mail-3').innerText()).toContain('full_nat');
  });

  test('have what they report of themselves counted, and why it was not believed', async () => {
    const page = await open();
    const card = page.locator('section.reports');
    expect(await card.innerText()).toMatch(/forged\s+Names a key of the cluster[^]+\s3\s/);
    expect(await card.innerText()).not.toContain('by a clock that is behind');
    await expect.poll(() => card.innerText(), PATIENT).toMatch(/accepted[^]+12\/s/);
    change = (snapshot) => ({ ...snapshot, reports: null });
    await expect.poll(() => card.isVisible(), PATIENT).toBe(false);
    expect(complaints).toEqual([]);
  });
});

describe('source rules', () => {
  test('are with their service, with what they decided on', async () => {
    const page = await open();
    const web = page.locator('.rows > li', { hasText: 'tcp/192.0.2.10:443' }).locator('.sources');
    expect(await web.innerText()).toMatch(/^Sources\s*all others are allowed\s+deny\s+203\.0\.113/);
    expect(await web.locator('li').first().innerText()).toMatch(/13\.3M\s+flows/);
    const dns = page.locator('.rows > li', { hasText: 'udp/192.0.2.53:53' });
    await dns.locator('summary').first().click();
    await dns.getByRole('row', { name: 'dns-1' }).waitFor();
    expect(await dns.locator('.sources').isVisible()).toBe(false);
  });

  test('are folded where they are many, and in the document while somebody reads them', async () => {
    const page = await open();
    const mail = page.locator('.rows > li', { hasText: 'tcp/192.0.2.40:587' }).locator('.sources');
    expect(await mail.innerText()).toContain('all others are denied');
    expect(await mail.locator('li').count()).toBe(9);
    await mail.getByText('31 more').click();
    await expect.poll(() => mail.locator('li').count()).toBe(40);
    await mail.getByText('31 more').click();
    await expect.poll(() => mail.locator('li').count()).toBe(9);
  });

  test('are never all in the document where a service has thousands', async () => {
    change = (snapshot) => ({
      ...snapshot,
      services: snapshot.services.slice(0, 1).map((service) => ({
        ...service,
        sources: Array.from({ length: 4000 }, (_, index) => {
          return {
            prefix: `10.${index >> 8}.${index & 255}.0/24`,
            verdict: 'deny',
            hits: 0,
          } as const;
        }),
      })),
    });
    const page = await open();
    const rules = page.locator('.sources');
    await rules.getByText('3,991 more').click();
    await rules.getByText('3,691 other rules: see the snapshot').waitFor();
    // They come with the event that follows the click.
    await expect.poll(() => rules.locator('li').count()).toBe(309);
  });
});

describe('the peers', () => {
  test('are shown with their state, and what differs or is missing', async () => {
    const page = await open();
    const row = (name: string) => page.locator('.peers').getByRole('row', { name });
    expect(await row('lb2').innerText()).toMatch(/alive 3 d 2 h\s+synced\s+0\.1\.0\s+same/);
    expect(await row('lb3').innerText()).toMatch(/0\.2\.0-rc\.1\s+differs 91e0d7c4b7/);
    expect(await row('lb4').innerText()).toMatch(/lost 1 min\s+unknown[^]+31\s+19\s+10,212/);
    expect(await row('lb5').innerText()).toContain('left');
    const card = page.locator('section.peers');
    await expect
      .poll(() => card.innerText(), PATIENT)
      .toMatch(/2\.93k flows\/s, 91\.4 kB\/s\s+Received\s+8\.61k flows\/s/);
    expect(await card.innerText()).toContain('Names a key of the cluster');
    expect(await card.innerText()).not.toContain('Longer than any datagram');
    expect(await page.locator('.overview').innerText()).toContain('1 of 4 peers lost');
    expect(complaints).toEqual([]);
  });

  test('are folded where they are many', async () => {
    scenario = 'forty';
    const page = await open();
    const rows = page.locator('.peers tbody tr');
    expect(await rows.count()).toBe(8);
    expect(await rows.first().innerText()).toContain('differs');
    await page.locator('.peers summary', { hasText: '6 more' }).click();
    await expect.poll(() => rows.count()).toBe(14);
  });

  test('have counters that are in the document while somebody reads them', async () => {
    const page = await open();
    const fold = page.locator('.peers .fold', { hasText: 'Counters of flow sync' });
    expect(await fold.locator('li').count()).toBe(0);
    await fold.locator('summary').click();
    await fold.getByText('Walks over the flow table that failed').waitFor();
    await fold.locator('summary').click();
    await expect.poll(() => fold.locator('li').count()).toBe(0);
  });

  test('are waited for by a node that joins, which says how far it is', async () => {
    scenario = 'joining';
    const page = await open();
    const gate = page.locator('.gate');
    expect(await gate.innerText()).toContain(
      'waiting for the flows of the other nodes: a snapshot is on its way, 42%',
    );
    const bar = gate.getByRole('progressbar', { name: 'Flows taken over' });
    expect(await bar.getAttribute('aria-valuenow')).toBe('42');
    change = (snapshot) => ({ ...snapshot, peers: { ...snapshot.peers!, gate: { open: true } } });
    await expect.poll(() => bar.isVisible(), PATIENT).toBe(false);
  });

  test('are not shown where flow sync is not configured', async () => {
    scenario = 'no-sync';
    const page = await open();
    const card = page.locator('section.peers');
    expect(await card.innerText()).toMatch(/^Peers\s+Flow sync is not configured\.$/);
    expect(complaints).toEqual([]);
  });
});

describe('while time passes', () => {
  test('rates and shares appear with the second snapshot', async () => {
    const page = await open();
    const backend = page.getByRole('row', { name: 'web-3 10.20.4.13' });
    await expect
      .poll(() => backend.innerText(), PATIENT)
      .toMatch(/\d\d\.\dk\s+\d\d\.\d MB\s+\d+k\s+[45]\d\.\d%\s*due 50%, weight 20/);
    const service = page.locator('summary', { hasText: 'tcp/192.0.2.10:443' });
    expect(await service.innerText()).toMatch(/\d{3}k[^]*\d\d\.\d MB[^]*\d{3}k/);
    await expect
      .poll(() => service.locator('.sparkline .line').getAttribute('d'), PATIENT)
      .toMatch(/^M.+L/);
  });

  test.each([WIDE, NARROW])('nothing moves on $width px, and open stays open', async (viewport) => {
    const page = await open(viewport);
    const dns = page.locator('details', { hasText: 'udp/192.0.2.53:53' });
    await dns.locator('summary').click();
    await dns.getByRole('row', { name: 'dns-1' }).waitFor();
    await polls(2);
    await page.evaluate(`
      moved = [];
      new PerformanceObserver((list) => moved.push(...list.getEntries().map(({ value }) => value)))
        .observe({ type: 'layout-shift' });
    `);
    const row = dns.getByRole('row', { name: 'dns-1' });
    await page.evaluate(`
      for (const each of document.querySelectorAll('.backends tbody tr')) each.dataset.marked = '';
    `);
    await polls(3);
    expect(await page.evaluate('moved')).toEqual([]);
    expect(await row.and(page.locator('[data-marked]')).isVisible()).toBe(true);
    expect(complaints).toEqual([]);
  });

  test('a hidden tab does not ask, and asks at once when it is seen again', async () => {
    const page = await newPage();
    // Counted by the page itself: what it asked for is known elsewhere only later.
    await page.addInitScript(`
      requests = 0;
      const fetchAsBefore = fetch;
      fetch = (...args) => ((requests += 1), fetchAsBefore(...args));
    `);
    const requests = async () => Number(await page.evaluate('requests'));
    await page.clock.install();
    await visit(page);
    await page.clock.runFor(3000);
    await setHidden(page, true);
    const before = await requests();
    expect(before).toBeGreaterThan(0);
    await page.clock.runFor(60_000);
    expect(await requests()).toBe(before);
    await setHidden(page, false);
    await expect.poll(requests).toBeGreaterThan(before);
  });

  test('a lost node is said to be lost, until it is back', async () => {
    const page = await open();
    const { port } = new URL(url);
    await server.stop();
    await page.getByRole('alert').filter({ hasText: 'Cannot reach lb1' }).waitFor();
    expect(await page.locator('.banner').innerText()).toMatch(/What is shown is \d+ s old/);
    expect(await page.locator('#link').innerText()).toBe('no answer');
    server = new ConsoleServer({
      view,
      host: '127.0.0.1',
      port: Number(port),
      logger: silentLogger,
    });
    await server.start();
    await page.getByRole('button', { name: 'Ask now' }).click();
    await page.getByText('live', { exact: true }).waitFor();
    expect(await page.locator('.banner').count()).toBe(0);
  });
});

describe('other states', () => {
  test('a part of the page that does not arrive is asked for again', async () => {
    const page = await newPage();
    await page.route('**/format.js', (route) => route.abort(), { times: 1 });
    await visit(page);
    expect(await page.locator('#verdict').innerText()).toBe('Announcing 3 of 4 VIPs');
  });

  test('a refused reload is named with every problem', async () => {
    scenario = 'refused';
    const page = await open();
    const banner = page.locator('.banner', { hasText: 'The last reload was refused' });
    expect(await banner.innerText()).toContain('services[2].backends[0].weight: must be between');
    expect(await banner.innerText()).toContain('58:13');
  });

  test.each<[Scenario, string, string]>([
    ['empty', 'No VIP is configured', 'No service is configured'],
    ['all-down', 'Announcing 0 of 4 VIPs', 'tcp: no answer within 800 ms'],
    ['stopping', 'Stopping: every VIP is withdrawn', 'this node is stopping'],
    ['no-bgp', '3 of 4 VIPs ready', 'the cluster document has no bgp section'],
  ])('%s', async (wanted, verdict, text) => {
    scenario = wanted;
    const page = await open();
    expect(await page.locator('#verdict').innerText()).toBe(verdict);
    expect(await page.locator('main').innerText()).toContain(text);
    expect(complaints).toEqual([]);
  });

  test('what the node says is text and never markup', async () => {
    const evil = '<img src=x onerror="document.title=1"><b>bold</b>';
    change = (snapshot) => ({
      ...snapshot,
      node: evil,
      services: snapshot.services.map((service) => ({
        ...service,
        name: evil,
        backends: service.backends.map((backend) => ({ ...backend, name: evil, reason: evil })),
      })),
      vips: snapshot.vips.map((vip) => ({ ...vip, explanation: evil })),
      peers: {
        ...snapshot.peers!,
        peers: snapshot.peers!.peers.slice(1, 2).map((peer) => ({
          ...peer,
          name: evil,
          softwareVersion: evil,
          configDigest: evil,
        })),
      },
    });
    const page = await open();
    expect(await page.locator('#node').innerText()).toBe(evil);
    expect(await page.locator('main img, main b').count()).toBe(0);
    expect(complaints).toEqual([]);
  });
});

describe('many services', () => {
  test('are closed, counted by state, and found by the filter', async () => {
    scenario = 'forty';
    const page = await open();
    const rows = page.locator('.rows > li');
    expect(await rows.count()).toBe(40);
    expect(await page.locator('.backends').count()).toBe(0);
    await page.getByRole('button', { name: 'Down 2' }).click();
    await expect.poll(() => rows.count()).toBe(2);
    await page.getByRole('button', { name: 'All 40' }).click();
    await page.keyboard.press('/');
    await page.keyboard.type('APP-17');
    await expect.poll(() => rows.count()).toBe(1);
    expect(await rows.innerText()).toContain('app-17');
  });

  test('open and close by keyboard', async () => {
    scenario = 'forty';
    const page = await open();
    await page.locator('summary', { hasText: 'app-01' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('row', { name: 'app-01-8 ' }).waitFor();
    await expect.poll(() => page.locator('.backends tbody tr').count()).toBe(8);
    await page.keyboard.press('Enter');
    await expect.poll(() => page.locator('.backends').count()).toBe(0);
  });

  test('a thousand of them are in the document fifty at a time', async () => {
    scenario = 'thousand';
    const page = await open();
    const rows = page.locator('.rows > li');
    expect(await rows.count()).toBe(50);
    expect(await page.locator('.overview').innerText()).toMatch(/Announcing \d+ of 1,000 VIPs/);
    await page.getByRole('button', { name: 'Show 50 more of 950' }).click();
    await expect.poll(() => rows.count()).toBe(100);
    await page.getByRole('searchbox').fill('app-0999');
    await expect.poll(() => rows.count()).toBe(1);
    await polls(2);
    expect(complaints).toEqual([]);
  });
});

describe('nothing is wider than the screen', () => {
  const all: readonly Scenario[] = [
    'usual',
    'empty',
    'all-down',
    'forty',
    'refused',
    'no-bgp',
    'no-sync',
    'joining',
  ];

  test.each(all)('%s', async (wanted) => {
    scenario = wanted;
    const page = await open(NARROW);
    if (wanted === 'usual') await openAll(page);
    for (const width of [390, 800, 1280]) {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.setViewportSize({ width, height: 844 });
        await page.emulateMedia({ colorScheme });
        const message = `${width} ${colorScheme}`;
        const scrollWidth = () => page.evaluate('document.documentElement.scrollWidth');
        await expect.poll(scrollWidth, { message }).toBe(width);
        await expect.poll(() => page.evaluate(spilling), { message }).toEqual([]);
      }
    }
    expect(complaints).toEqual([]);
  });
});

/** Elements that reach out of the window; run in the page. */
const spilling = `
  [...document.querySelectorAll('main *')]
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5)
    .map((node) => node.className || node.tagName)
`;

async function openAll(page: Page): Promise<void> {
  await page.evaluate(
    "document.querySelectorAll('details').forEach((each) => { each.open = true; })",
  );
  await page.getByRole('row', { name: 'web-3-v6' }).waitFor();
}

async function setHidden(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate(`
    Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  `);
}
