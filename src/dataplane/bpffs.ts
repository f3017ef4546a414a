/** The BPF file system, where what is to outlive the process is pinned. */
import { mkdirSync } from 'node:fs';
import { runTool } from './ip.ts';

const BPFFS_MOUNT = '/sys/fs/bpf';

/** Makes a folder for pins, and mounts the file system where nobody has done so yet. */
export async function mountBpffs(folder: string): Promise<void> {
  if (folder.startsWith(`${BPFFS_MOUNT}/`)) {
    const type = await runTool('stat', ['-f', '-c', '%T', BPFFS_MOUNT]);
    if (type.trim() !== 'bpf_fs') await runTool('mount', ['-t', 'bpf', 'bpf', BPFFS_MOUNT]);
  }
  mkdirSync(folder, { recursive: true });
}
