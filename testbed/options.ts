/** Numbers on command lines: checked, with the bounds in the message. */
import { InvalidArgumentError } from 'commander';

/** A parser for commander that takes whole numbers from `min` to `max`. */
export function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Must be a whole number from ${min} to ${max}.`);
  };
}
