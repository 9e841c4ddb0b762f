/** @file One file from a server to the disk: resumed where it broke off, checked, and there under its name only when it is whole. */

import { createHash, type Hash, randomBytes } from "node:crypto";
import { type FileHandle, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LaurelError, ModelError } from "../../errors.js";
import { readInto } from "../../util/files.js";
import { HEAD_BYTES, recogniseForeign } from "../../util/foreign.js";
import type { HubClient, OpenedBody } from "./client.js";
import { TransientFailure } from "./failure.js";

/** What is to be fetched. */
export interface Transfer {
  readonly url: string;
  /** What it is called in messages: `org/repo: unet/config.json`. */
  readonly what: string;
  /** Undefined when the server does not say. */
  readonly size: number | undefined;
  /** SHA-256, git's SHA-1 of a blob, or null for what nobody vouches for. */
  readonly digest: Digest | null;
  /** Where it will be, in a folder that exists. */
  readonly destination: string;
  /** Parts that another process left may be taken over: no other process writes this file. */
  readonly alone: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes that lie on the disk so far. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** What the bytes of a file hash to. */
export interface Digest {
  readonly algorithm: "sha256" | "git-sha1";
  readonly hex: string;
}

/** The digest that an etag is; null when it is something else. */
export function digestOfEtag(etag: string): Digest | null {
  if (/^[0-9a-f]{64}$/.test(etag)) return { algorithm: "sha256", hex: etag };
  return /^[0-9a-f]{40}$/.test(etag) ? { algorithm: "git-sha1", hex: etag } : null;
}

/** A hash that will give the digest of `size` bytes. */
export function startHash(digest: Digest, size: number): Hash {
  return digest.algorithm === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}

/** Tells Laurel's unfinished files from those of other programs, which may still be written to: eight hex digits as theirs, of which four are fixed. */
const MARK = "1a0e";
const CHUNK = 1 << 20;

/** Bytes that an unfinished file of an earlier attempt holds. */
export async function unfinishedBytes(destination: string): Promise<number> {
  return Math.max(0, ...(await unfinished(destination)).map(({ size }) => size));
}

/** Fetches a file to its destination. @throws ModelError when it is not what it should be, BackendError when it cannot be had now */
export async function transfer(client: HubClient, request: Transfer): Promise<void> {
  for (let again = false; ; again = true) {
    const part = await Part.open(request);
    try {
      await receive(client, request, part);
      const fault = await part.fault();
      if (fault === undefined) {
        if (await part.finish()) return;
        continue;
      }
      await part.remove();
      // what was taken over may have been damaged, and so may once be what came over the network
      if (again) throw new ModelError(`${request.what}: expected ${fault}; it was fetched twice`);
    } catch (error) {
      throw explain(error, request);
    } finally {
      await part.close();
    }
  }
}

/** Receives until the part is whole; an end in between is gone on from there. */
async function receive(client: HubClient, request: Transfer, part: Part): Promise<void> {
  const { signal, size, what } = request;
  let failures = 0;
  while (!part.whole) {
    const before = part.bytes;
    try {
      const body = await client.open(request.url, part.bytes, what, signal);
      if (body.offset < part.bytes) await part.restart();
      await expectTotal(body, size, what);
      for await (const chunk of body.chunks) {
        await part.write(chunk);
        request.onBytes?.(part.bytes);
      }
      if (size === undefined && (body.total === undefined || part.bytes >= body.total)) return;
      if (!part.whole) throw new TransientFailure(`${what}: expected ${size ?? body.total} bytes, got ${part.bytes}`);
    } catch (error) {
      if (part.bytes > before) failures = 0;
      await client.pause(error, failures++, signal);
    }
  }
}

/** @throws ModelError when the server sends something else than the file */
async function expectTotal(
  { total, contentType, chunks }: OpenedBody,
  size: number | undefined,
  what: string,
): Promise<void> {
  const page = contentType.includes("html") && !/\.html?$/.test(what);
  if (!page && (size === undefined || total === undefined || total === size)) return;
  let head = Buffer.alloc(0);
  for await (const chunk of chunks) {
    head = Buffer.concat([head, chunk]).subarray(0, HEAD_BYTES);
    if (head.length === HEAD_BYTES) break;
  }
  const seems = recogniseForeign(head) ?? (page ? "a web page" : undefined);
  const actual = [total === undefined ? undefined : `${total}`, seems].filter((one) => one !== undefined).join(", ");
  throw new ModelError(`${what}: expected ${size === undefined ? "a file" : `${size} bytes`}, got ${actual}`);
}

/** A file that is being received. */
class Part {
  readonly #request: Transfer;
  readonly #path: string;
  readonly #handle: FileHandle;
  #hash: Hash | undefined;
  #bytes = 0;
  #open = true;

  private constructor(request: Transfer, path: string, handle: FileHandle) {
    this.#request = request;
    this.#path = path;
    this.#handle = handle;
    this.#startHash();
  }

  /** A new one, or what an earlier process has left of it. */
  static async open(request: Transfer): Promise<Part> {
    const { destination, alone, size = 0 } = request;
    const left = alone ? await unfinished(destination) : [];
    const best = left.filter((one) => one.size <= size).sort((a, b) => b.size - a.size)[0];
    for (const one of left) if (one !== best) await unlink(one.path).catch(() => undefined);
    const path = `${destination}.${MARK}${randomBytes(2).toString("hex")}.incomplete`;
    // renamed first: a process that was only slow finds its file gone, and does not finish it
    const taken = best !== undefined && (await renamed(best.path, path));
    const part = new Part(request, path, await open(path, taken ? "r+" : "wx+"));
    if (taken) await part.#readExisting();
    return part;
  }

  /** Bytes received and hashed. */
  get bytes(): number {
    return this.#bytes;
  }

  get whole(): boolean {
    return this.#bytes === this.#request.size;
  }

  async write(chunk: Uint8Array): Promise<void> {
    const { size = Infinity, what } = this.#request;
    if (this.#bytes + chunk.byteLength > size) {
      await this.restart();
      throw new TransientFailure(`${what}: expected ${size} bytes, got more`);
    }
    for (let written = 0; written < chunk.byteLength;) {
      const left = chunk.byteLength - written;
      written += (await this.#handle.write(chunk, written, left, this.#bytes + written)).bytesWritten;
    }
    this.#hash?.update(chunk);
    this.#bytes += chunk.byteLength;
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#bytes = 0;
    this.#startHash();
  }

  /** What is wrong with it: `sha256 ..., got ...`; undefined when it is right, or nobody knows. */
  async fault(): Promise<string | undefined> {
    const { digest } = this.#request;
    const head = Buffer.alloc(Math.min(HEAD_BYTES, this.#bytes));
    await readInto(this.#handle, head, 0);
    const foreign = recogniseForeign(head);
    const actual = this.#hash?.digest("hex");
    if (digest !== null && actual !== digest.hex) {
      return `${digest.algorithm === "sha256" ? "sha256" : "git's sha1"} ${digest.hex}, got ${actual ?? "none"}${foreign === undefined ? "" : `, ${foreign}`}`;
    }
    return digest === null && /web page|LFS pointer/.test(foreign ?? "") ? `the file, got ${foreign}` : undefined;
  }

  /** Puts it in its place. False when another process has taken it away meanwhile and there is none in its place yet. */
  async finish(): Promise<boolean> {
    await this.#handle.sync();
    await this.close();
    if (await renamed(this.#path, this.#request.destination)) return true;
    return stat(this.#request.destination).then(
      () => true,
      () => false,
    );
  }

  async remove(): Promise<void> {
    await unlink(this.#path).catch(() => undefined);
  }

  async close(): Promise<void> {
    if (this.#open) await this.#handle.close();
    this.#open = false;
  }

  #startHash(): void {
    const { digest, size = 0 } = this.#request;
    this.#hash = digest === null ? undefined : startHash(digest, size);
  }

  async #readExisting(): Promise<void> {
    const buffer = Buffer.alloc(CHUNK);
    for (;;) {
      const count = await readInto(this.#handle, buffer, this.#bytes);
      this.#hash?.update(buffer.subarray(0, count));
      this.#bytes += count;
      if (count < CHUNK) break;
    }
    this.#request.onBytes?.(this.#bytes);
  }
}

async function unfinished(destination: string): Promise<{ readonly path: string; readonly size: number }[]> {
  const start = `${basename(destination)}.${MARK}`;
  const names = await readdir(dirname(destination)).catch(() => []);
  const found = names
    .filter((name) => name.startsWith(start) && name.endsWith(".incomplete"))
    .map(async (name) => {
      const path = join(dirname(destination), name);
      return { path, size: (await stat(path).catch(() => undefined))?.size ?? 0 };
    });
  return Promise.all(found);
}

/** False when there is nothing to rename. */
async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

function explain(error: unknown, { what, destination }: Transfer): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  return new LaurelError(
    `${what}: expected room for it in ${dirname(destination)}, got a full disk (${code}); make room and pull again, what was fetched is kept`,
    { cause: error },
  );
}
