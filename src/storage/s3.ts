/** @file Objects in S3 or a server that speaks it. */

import type { GetObjectCommandOutput, S3Client } from "@aws-sdk/client-s3";
import { LaurelError } from "../errors.js";
import { sha256 } from "../util/files.js";
import type { Environment } from "../util/user-folders.js";
import { type ListOptions, type Storage, StorageError, type StorageOptions, type StoredObject } from "./contract.js";
import { within } from "./deadline.js";
import { checkKey, checkPrefix, checkSize, isKey, MAXIMUM_OBJECT_BYTES } from "./keys.js";
import { probeStorage } from "./probe.js";
import type { S3Address } from "./s3-address.js";
import { createS3Client, importS3, s3Endpoint, type S3Package } from "./s3-client.js";
import { explainS3, ForeignAnswer } from "./s3-fault.js";

/** How a bucket is used. */
export interface S3StorageOptions {
  /** Milliseconds for one operation, the client's own attempts included. @default 120000 */
  readonly timeoutMs?: number | undefined;
}

/** Under which an object carries the digest of its content, in lower-case hex. */
const DIGEST = "laurel-sha256";
/** What people see who open an object in a browser. */
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  png: "image/png",
  jpg: "image/jpeg",
  webp: "image/webp",
  json: "application/json",
};

/** A storage in a bucket. @throws UsageError when the package that speaks S3 is not installed, or the environment's endpoint is no address */
export async function openS3Storage(
  address: S3Address,
  environment: Environment = process.env,
  options: S3StorageOptions = {},
): Promise<Storage> {
  const endpoint = s3Endpoint(address, environment);
  const s3 = await importS3(address.address);
  const client = createS3Client(s3, address, endpoint, environment);
  refuseForeignAnswers(client);
  return new S3Storage(s3, client, address, { endpoint, timeoutMs: options.timeoutMs ?? 120_000 });
}

class S3Storage implements Storage {
  readonly address: string;
  readonly #s3: S3Package;
  readonly #client: S3Client;
  readonly #place: S3Address;
  readonly #request: { readonly endpoint: URL | undefined; readonly timeoutMs: number };
  #answered = false;

  constructor(
    s3: S3Package,
    client: S3Client,
    place: S3Address,
    request: { readonly endpoint: URL | undefined; readonly timeoutMs: number },
  ) {
    this.address = place.address;
    this.#s3 = s3;
    this.#client = client;
    this.#place = place;
    this.#request = request;
  }

  async get(key: string, options?: StorageOptions): Promise<Uint8Array | undefined> {
    checkKey(key, this.address);
    return this.#get(key, options);
  }

  async has(key: string, options?: StorageOptions): Promise<boolean> {
    checkKey(key, this.address);
    // unlike HEAD, this tells a missing object from a missing bucket, and says why it was refused
    const Range = "bytes=0-0";
    return this.#do("to look for it", key, options, async (signal) => {
      try {
        const output = await this.#ask(key, { Range }, signal);
        (output?.Body as { destroy?: () => void } | undefined)?.destroy?.();
        return output !== undefined;
      } catch (error) {
        // an empty object has no first byte
        if ((error as Error).name === "InvalidRange") return true;
        throw error;
      }
    });
  }

  async put(key: string, bytes: Uint8Array, options?: StorageOptions): Promise<void> {
    checkKey(key, this.address);
    checkSize(bytes.byteLength, this.#where(key));
    await this.#put(key, bytes, options);
  }

  async delete(key: string, options?: StorageOptions): Promise<void> {
    checkKey(key, this.address);
    await this.#delete(key, options);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<StoredObject, void> {
    checkPrefix(prefix, this.address);
    yield* this.#list(prefix, isKey, options);
  }

  async probe(options: StorageOptions = {}): Promise<void> {
    await probeStorage(
      {
        address: this.address,
        get: (key) => this.#get(key, options),
        put: (key, bytes) => this.#put(key, bytes, options),
        delete: (key) => this.#delete(key, options),
        list: (key) => this.#list(key, (name) => name === key, options),
      },
      options,
    );
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  #get(key: string, options: StorageOptions = {}): Promise<Uint8Array | undefined> {
    return this.#do("to read it", key, options, async (signal) => {
      const output = await this.#ask(key, {}, signal);
      return output === undefined ? undefined : this.#body(key, output);
    });
  }

  #put(key: string, bytes: Uint8Array, options: StorageOptions = {}): Promise<void> {
    const input = {
      ...this.#object(key),
      Body: bytes,
      ContentType: CONTENT_TYPES[key.split(".").at(-1)!] ?? "application/octet-stream",
      Metadata: { [DIGEST]: sha256(bytes) },
    };
    return this.#do("to write it", key, options, async (abortSignal) => {
      const { ETag } = await this.#client.send(new this.#s3.PutObjectCommand(input), { abortSignal });
      if (ETag === undefined) throw this.#invalid(key, "the tag of what was written", "none; is it S3 that answers?");
    });
  }

  #delete(key: string, options: StorageOptions = {}): Promise<void> {
    return this.#do("to remove it", key, options, async (abortSignal) => {
      await this.#client.send(new this.#s3.DeleteObjectCommand(this.#object(key)), { abortSignal });
    });
  }

  /** The answer to a request for an object, undefined where there is none. */
  async #ask(
    key: string,
    change: { readonly Range?: string },
    abortSignal: AbortSignal,
  ): Promise<GetObjectCommandOutput | undefined> {
    try {
      const command = new this.#s3.GetObjectCommand({ ...this.#object(key), ...change });
      const output = await this.#client.send(command, { abortSignal });
      if (output.ETag === undefined) throw this.#invalid(key, "an object", "an answer without its tag; is it S3?");
      return output;
    } catch (error) {
      if ((error as Error).name === "NoSuchKey") return undefined;
      throw error;
    }
  }

  /** The whole content of an answer, counted and compared with the digest that was written with it. */
  async #body(key: string, output: GetObjectCommandOutput): Promise<Uint8Array> {
    const { ContentLength: length, Metadata } = output;
    const pieces: Uint8Array[] = [];
    let size = 0;
    // leaving the loop closes the connection
    for await (const piece of output.Body as AsyncIterable<Uint8Array>) {
      size += piece.byteLength;
      if (size > MAXIMUM_OBJECT_BYTES) {
        throw this.#invalid(key, `at most ${MAXIMUM_OBJECT_BYTES} bytes`, String(length ?? "more"));
      }
      pieces.push(piece);
    }
    const cut = (expected: string, actual: string): StorageError =>
      new StorageError(`${this.#where(key)}: expected ${expected}, got ${actual}`, "unavailable");
    if (length !== undefined && size !== length) throw cut(`${length} bytes`, `${size}`);
    const bytes = Buffer.concat(pieces, size);
    const digest = Metadata?.[DIGEST];
    if (digest !== undefined && sha256(bytes) !== digest) {
      throw cut("the content that was written", `${size} bytes with another digest`);
    }
    return bytes;
  }

  async *#list(
    prefix: string,
    wanted: (key: string) => boolean,
    { after, signal }: ListOptions,
  ): AsyncGenerator<StoredObject, void> {
    const skip = this.#name("").length;
    const input = {
      Bucket: this.#place.bucket,
      Prefix: this.#name(prefix),
      ...(after === undefined ? {} : { StartAfter: this.#name(after) }),
    };
    let last = after ?? "";
    let ContinuationToken: string | undefined;
    do {
      const page = await this.#do("to list it", prefix, { signal }, async (abortSignal) => {
        const command = new this.#s3.ListObjectsV2Command({ ...input, ContinuationToken });
        const output = await this.#client.send(command, { abortSignal });
        if (output.IsTruncated === undefined) throw this.#invalid(prefix, "a listing", "something else; is it S3?");
        return output;
      });
      for (const { Key = "", Size = 0 } of page.Contents ?? []) {
        if (!Key.startsWith(input.Prefix))
          throw this.#invalid(prefix, "keys below it", JSON.stringify(Key.slice(0, 100)));
        const key = Key.slice(skip);
        if (!wanted(key)) continue;
        // a listing that broke off goes on after its last key
        if (key <= last) throw this.#invalid(prefix, "keys in their order", `${key} after ${last}`);
        last = key;
        yield { key, bytes: Size };
      }
      const next = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      if (page.IsTruncated === true && (next === undefined || next === ContinuationToken)) {
        throw this.#invalid(prefix, "where the listing goes on", "nothing new");
      }
      ContinuationToken = next;
    } while (ContinuationToken !== undefined);
  }

  /** Does `work` within the time there is; what fails is told as a fault of this storage. */
  async #do<T>(
    goal: string,
    key: string,
    options: StorageOptions | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const where = this.#where(key);
    const late = (seconds: number): StorageError =>
      new StorageError(`${where}: expected ${goal} within ${seconds} s, got no complete answer`, "unavailable");
    const bounds = { timeoutMs: this.#request.timeoutMs, signal: options?.signal, address: this.address, late };
    try {
      const result = await within(bounds, work);
      this.#answered = true;
      return result;
    } catch (error) {
      if (error instanceof LaurelError) throw error;
      const { bucket } = this.#place;
      throw explainS3(error, { where, goal, bucket, endpoint: this.#request.endpoint, answered: this.#answered });
    }
  }

  #object(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#place.bucket, Key: this.#name(key) };
  }

  /** A key as the bucket has it. */
  #name(key: string): string {
    return this.#place.prefix === "" ? key : `${this.#place.prefix}/${key}`;
  }

  #where(key: string): string {
    return key === "" ? this.address : `${this.address}/${key}`;
  }

  #invalid(key: string, expected: string, actual: string): StorageError {
    return new StorageError(`${this.#where(key)}: expected ${expected}, got ${actual}`, "invalid");
  }
}

/** S3 answers in XML or with the object itself: a page comes from a proxy or from another server, and would pass for an object. */
function refuseForeignAnswers(client: S3Client): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const response = result.response as {
        readonly statusCode: number;
        readonly headers: Readonly<Record<string, string>>;
        readonly body?: { resume?: () => void };
      };
      const type = response.headers["content-type"] ?? "";
      if (!/^text\/html/i.test(type)) return result;
      response.body?.resume?.();
      throw new ForeignAnswer("an HTML page", response.statusCode);
    },
    { step: "deserialize", priority: "low", name: "laurelForeignAnswers" },
  );
}
