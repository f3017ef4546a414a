/** Asks the console of a running node. Must never print or exit: that is what main.ts and commands do. */
import { errorMessage, SkeinError } from '../lib/errors.ts';

const REQUEST_TIMEOUT_MS = 5_000;

export interface AskOptions {
  readonly url: string;
  readonly json: boolean;
}

/**
 * JSON under `path` of the console at `url`. SkeinError UNREACHABLE: nobody answers. SkeinError
 * REFUSED: the node does, and says why it has nothing under this path.
 */
export async function askNode(
  url: string,
  path: string,
  timeoutMs = REQUEST_TIMEOUT_MS,
): Promise<unknown> {
  const target = new URL(path, url);
  let response: Response;
  try {
    response = await fetch(target, { signal: AbortSignal.timeout(timeoutMs) });
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    const why = errorMessage(cause ?? error);
    const message = `no node answers at ${target.href}: ${why} (--url names another console)`;
    throw new SkeinError('UNREACHABLE', message, { cause: error });
  }
  if (response.ok) return response.json();
  const body = (await response.json().catch(() => undefined)) as
    { readonly error?: { readonly message?: string } } | undefined;
  const why = body?.error?.message ?? `HTTP status ${response.status}`;
  throw new SkeinError('REFUSED', `${target.href} answered: ${why}`);
}
