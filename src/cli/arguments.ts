/** @file Parsers of option values; what they refuse is a usage error that names the option. */

import { InvalidArgumentError } from "commander";

/** A whole number in decimal digits, from `minimum` to `maximum`. */
export function integer(minimum: number, maximum: number): (value: string) => number {
  return (value) => {
    const parsed = /^[+-]?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (!(parsed >= minimum && parsed <= maximum)) {
      throw new InvalidArgumentError(
        `Expected a whole number from ${minimum} to ${maximum}, got ${JSON.stringify(value)}.`,
      );
    }
    return parsed;
  };
}

/** A decimal number from `minimum` to `maximum`. */
export function number(minimum: number, maximum: number): (value: string) => number {
  return (value) => {
    const parsed = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) ? Number(value) : Number.NaN;
    if (!(parsed >= minimum && parsed <= maximum)) {
      throw new InvalidArgumentError(`Expected a number from ${minimum} to ${maximum}, got ${JSON.stringify(value)}.`);
    }
    return parsed;
  };
}

/** Text that is not blank. */
export function text(what: string): (value: string) => string {
  return (value) => {
    if (value.trim() === "") throw new InvalidArgumentError(`Expected ${what}, got an empty text.`);
    return value;
  };
}
