/**
 * Operating errors: something outside the program is not as it must be. Each has a stable `code`
 * for programs and a message for people that says what to do. Programmer errors are assertions;
 * rejected input is a returned value, never an exception.
 */
export class SkeinError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SkeinError';
    this.code = code;
  }
}

/** The text of whatever was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
