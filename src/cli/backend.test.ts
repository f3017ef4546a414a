import { expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { runBackend, type BackendCommand } from './backend.ts';

const COMMAND: BackendCommand = {
  ...{ mss: 'auto', xdpMode: 'auto', report: false, logLevel: 'error' },
  ...{ stateDir: '/nowhere', bpffs: '/nowhere' },
};

test.each<Partial<BackendCommand>>([
  { vip: [address('192.0.2.1')] },
  { mode: ['gue'] },
  { dscp: [{ dscp: 10, vip: address('192.0.2.1') }] },
  { guePort: 6080 },
  { fouPort: 5555 },
])('what a document says is refused beside one: %j', async (more) => {
  await expect(runBackend({ ...COMMAND, config: '/nowhere.yaml', ...more })).rejects.toMatchObject({
    code: 'CONFIG',
    message: expect.stringContaining('are in the document') as string,
  });
});
