/** @file Secrets: read from the environment or a file, never from the command line, and kept out of everything that is written. */

import { readFile } from "node:fs/promises";
import { UsageError } from "../errors.js";

const REPLACEMENT = "[redacted]";

/** Values that {@link redact} removes, longest first, so that a secret that contains another leaves nothing behind. */
const known: string[] = [];

/** A secret value. Printed, logged or turned into JSON it shows `[redacted]`. */
export class Secret {
  readonly #value: string;

  /** @param value an empty one is no secret and is refused with UsageError */
  constructor(value: string, where = "secret") {
    if (value === "") throw new UsageError(`${where}: expected a secret, got an empty text`);
    this.#value = value;
    remember(value);
    // what a server echoes may be encoded
    remember(encodeURIComponent(value));
    remember(JSON.stringify(value).slice(1, -1));
    remember(Buffer.from(value).toString("base64"));
  }

  /** The value itself, for the one place that sends it. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return REPLACEMENT;
  }

  toJSON(): string {
    return REPLACEMENT;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return REPLACEMENT;
  }
}

function remember(value: string): void {
  // a very short text would remove half of every message
  if (value.length < 4 || known.includes(value)) return;
  known.push(value);
  known.sort((a, b) => b.length - a.length);
}

/** `text` without any secret this process has read. */
export function redact(text: string): string {
  let result = text;
  for (const value of known) if (result.includes(value)) result = result.replaceAll(value, REPLACEMENT);
  return result;
}

/** True for names such as `api_key` or `password`, under which nobody writes anything but a secret. */
export function isSecretName(name: string): boolean {
  return (
    /(^|[_-])(api[_-]?key|key|token|password|secret|authorization)$/i.test(name) ||
    /(ApiKey|Password|Secret|Token)$/.test(name)
  );
}

/** Where a secret is found: the name of an environment variable, or a file that holds it alone. */
export interface SecretSource {
  readonly env?: string | undefined;
  readonly file?: string | undefined;
}

/**
 * Reads a secret. An environment variable `NAME` may also be given as `NAME_FILE`, the path of a file, as container secrets are.
 * @param where what it is for, for errors
 * @returns undefined when the variable is not set
 * @throws UsageError when a file cannot be read, or the secret is empty or more than one line
 */
export async function readSecret(
  source: SecretSource,
  where: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Secret | undefined> {
  const { env } = source;
  const value = env === undefined ? undefined : environment[env];
  if (value !== undefined && value.trim() !== "") return single(value, `${where}: environment variable ${env}`);
  const file = source.file ?? (env === undefined ? undefined : environment[`${env}_FILE`]);
  if (file === undefined || file === "") return undefined;
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const reason = code === "ENOENT" ? "no such file" : (code ?? String(cause));
    throw new UsageError(`${where}: ${file}: expected a file that holds a secret, got ${reason}`, { cause });
  }
  return single(text, `${where}: ${file}`);
}

function single(text: string, where: string): Secret {
  const value = text.trim();
  if (/[\u0000-\u001f\u007f]/.test(value)) {
    throw new UsageError(`${where}: expected one line without control characters, got several`);
  }
  return new Secret(value, where);
}
