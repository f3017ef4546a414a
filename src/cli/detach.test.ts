import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { detachNode } from './detach.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-detach-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

function documents(consoleAddress: string) {
  const paths = { config: join(folder, 'skein.yaml'), node: join(folder, 'node.yaml') };
  writeFileSync(paths.config, 'cluster: west\n');
  const part = { node: 'lb1', interfaces: ['eth0'], console: consoleAddress, bpffs: pins() };
  writeFileSync(paths.node, JSON.stringify(part));
  return paths;
}

/** Not there, so that nothing of this machine can be touched. */
function pins(): string {
  return join(folder, 'pins');
}

test('refused before anything is looked at while the node runs', async () => {
  const node = createServer();
  await new Promise<void>((resolve) => node.listen(0, '127.0.0.1', resolve));
  const { port } = node.address() as AddressInfo;
  const paths = documents(`127.0.0.1:${port}`);
  await expect(detachNode(paths)).rejects.toMatchObject({
    code: 'NODE_RUNS',
    message: expect.stringContaining('stop the node first') as string,
  });

  node.close();
  const said = vi.spyOn(console, 'log').mockReturnValue();
  await detachNode(paths);
  expect(said).toHaveBeenCalledWith(`nothing is pinned in ${pins()}`);
  // The port is free again.
  await detachNode(paths);
});

test('refused where there is no telling whether the node runs', async () => {
  const detaching = detachNode(documents('192.0.2.254:8080'));
  await expect(detaching).rejects.toMatchObject({ code: 'CONSOLE_LISTEN' });
});
