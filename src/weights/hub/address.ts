/** @file Files that lie on no hub: fetched from a plain address into Laurel's own cache. */

import { mkdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { UsageError } from "../../errors.js";
import { sha256File } from "../../util/files.js";
import type { Environment } from "../../util/user-folders.js";
import { withBlobLock } from "./blob-lock.js";
import type { AddressPart } from "./catalogue.js";
import type { HubClient } from "./client.js";
import { addressFile } from "./installed.js";
import type { PulledFile, PullOptions } from "./pull.js";
import { transfer } from "./transfer.js";

/** Fetches the file of an address. @throws as `pullRepository` */
export async function pullAddress(
  client: HubClient,
  part: AddressPart,
  { signal, check = false, onProgress }: PullOptions,
  environment: Environment = process.env,
): Promise<PulledFile & { readonly file: string }> {
  const file = addressFile(part, environment);
  const found = (bytes: number, fetched: boolean) => ({ path: part.file, file, bytes, fetched });
  const there = await stat(file).catch(() => undefined);
  if (there?.isFile() === true && !(check && (await addressFault(part, file)) !== undefined)) {
    return found(there.size, false);
  }
  if (client.settings.offline) {
    throw new UsageError(
      `${part.file}: expected to be let onto the network, got HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE`,
    );
  }
  await mkdir(dirname(file), { recursive: true });
  const digest = part.sha256 === null ? null : ({ algorithm: "sha256", hex: part.sha256 } as const);
  const onBytes = (bytes: number): void => {
    onProgress?.({ bytes, totalBytes: Number.NaN, files: 0, totalFiles: 1 });
  };
  await withBlobLock(join(dirname(file), `${basename(file)}.laurel`), signal, async (alone) => {
    if (!check && (await stat(file).catch(() => undefined)) !== undefined) return;
    const request = {
      url: part.url,
      what: part.file,
      size: undefined,
      digest,
      destination: file,
      alone,
      signal,
      onBytes,
    };
    await transfer(client, request);
  });
  return found((await stat(file)).size, true);
}

/** What is wrong with the file of an address; undefined when nothing is, or nobody knows its hash. */
export async function addressFault({ sha256 }: AddressPart, file: string): Promise<string | undefined> {
  if ((await stat(file).catch(() => undefined)) === undefined) return "expected a file, got none";
  if (sha256 === null) return undefined;
  const actual = await sha256File(file);
  return actual === sha256 ? undefined : `expected sha256 ${sha256}, got ${actual}`;
}
