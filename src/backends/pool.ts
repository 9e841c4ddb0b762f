/** @file Several servers of one kind as one backend: the least busy draws next, one that is down is passed over. */

import PQueue from "p-queue";
import type { GeneratedGroup, ImageBackend } from "./contract.js";
import { drawGroups } from "./groups.js";
import type { HttpServer } from "./http/client.js";
import { HttpError } from "./http/error.js";
import { checkRequest } from "./resolve.js";

/** At most so many requests in so many seconds. */
export interface Rate {
  readonly requests: number;
  readonly perSeconds: number;
}

interface Member {
  readonly backend: ImageBackend;
  /** Groups it is drawing. */
  busy: number;
  /** Failed last, and not tried since. */
  down: boolean;
}

/**
 * Opens a backend on each server and joins them. Opening succeeds when one server answers; a group that a server fails in passing is drawn by another.
 * @param rate for all servers together
 * @throws what opening the last server threw when none can be opened
 */
export async function poolOf(
  servers: readonly HttpServer[],
  open: (server: HttpServer) => Promise<ImageBackend>,
  rate?: Rate,
): Promise<ImageBackend> {
  const opened = await Promise.allSettled(servers.map(open));
  const members = opened.flatMap((one): Member[] =>
    one.status === "fulfilled" ? [{ backend: one.value, busy: 0, down: false }] : [],
  );
  const problems = opened.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
  const [first] = members;
  if (first === undefined) {
    await Promise.all(servers.map((server) => server.close()));
    throw problems[0];
  }
  if (servers.length === 1 && rate === undefined) return first.backend;
  const unreachable = problems.map((error) => (error instanceof Error ? error.message : String(error)));
  const each = first.backend.capabilities.concurrency ?? 1;
  const concurrency = members.length * each;
  const limiter = new PQueue(
    rate === undefined
      ? { concurrency }
      : { concurrency, interval: rate.perSeconds * 1000, intervalCap: rate.requests, carryoverIntervalCount: true },
  );
  const pool: ImageBackend = {
    name: first.backend.name,
    model: first.backend.model,
    capabilities: { ...first.backend.capabilities, concurrency },
    defaults: first.backend.defaults,
    async *generate(request, options = {}) {
      checkRequest(pool, request);
      let told = false;
      for await (const group of drawGroups(request, concurrency, options, (part, { signal, onProgress }) =>
        limiter.add(() =>
          drawAnywhere(members, { ...request, seed: part.seed, count: part.count }, { signal, onProgress }),
        ),
      )) {
        yield told ? group : { ...group, warnings: [...unreachable, ...group.warnings] };
        told = true;
      }
    },
    async dispose() {
      await Promise.all(servers.map((server) => server.close()));
    },
  };
  return pool;
}

/** Draws one group on the least busy server that is up; servers that fail in passing are passed over, each once. */
async function drawAnywhere(
  members: readonly Member[],
  request: Parameters<ImageBackend["generate"]>[0],
  options: Parameters<ImageBackend["generate"]>[1],
): Promise<GeneratedGroup> {
  const left = new Set(members);
  for (;;) {
    const [member] = [...left].sort((a, b) => Number(a.down) - Number(b.down) || a.busy - b.busy);
    if (member === undefined) throw new HttpError("expected a server that answers, got none", { fault: "unavailable" });
    left.delete(member);
    member.busy++;
    try {
      for await (const group of member.backend.generate(request, options)) {
        member.down = false;
        return group;
      }
      return { images: [], warnings: [] };
    } catch (error) {
      if (!(error instanceof HttpError) || !error.transient) throw error;
      member.down = true;
      if (left.size === 0) throw error;
    } finally {
      member.busy--;
    }
  }
}
