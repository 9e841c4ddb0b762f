/** @file How jobs, values and failures are written for BullMQ. Texts of JSON inside JSON: what PostgreSQL's jsonb would reorder or refuse stays as it was. */

import { redact } from "../util/secret.js";
import type { Job } from "bullmq";
import { CANCELLED_FAILURE, type JobFailure, type JobStatus, type Json, QueueError } from "./contract.js";

/** Data of a BullMQ job. */
export interface Written {
  readonly work: string;
  /** Set while it is under way: its worker should stop. */
  readonly cancelled?: boolean;
  /** Workers that cannot do it. */
  readonly refused?: readonly string[];
}

/** A job's BullMQ data. */
export function writeWork(data: JobStatus["data"]): Written {
  return { work: JSON.stringify(data) };
}

/** @throws QueueError for a job that Laurel did not write */
export function readWork(id: string, written: unknown): JobStatus["data"] {
  const { work } = (written ?? {}) as { work?: unknown };
  const data = typeof work === "string" ? parsed(work) : undefined;
  if (typeof data !== "object" || data === null || Array.isArray(data)) {
    throw new QueueError(`job ${id}: expected data that Laurel wrote, got other data`);
  }
  return data as JobStatus["data"];
}

/** Whether someone asked for a job to stop. */
export function isCancelled(written: unknown): boolean {
  return (written as Partial<Written> | undefined)?.cancelled === true;
}

/** The workers that refused a job. */
export function refusersOf(written: unknown): readonly string[] {
  return (written as Partial<Written> | undefined)?.refused ?? [];
}

/** A job's value for BullMQ. */
export function writeValue(value: Json): { readonly value: string } {
  return { value: JSON.stringify(value) };
}

/** @throws QueueError for a value that no worker of Laurel wrote */
export function readValue(id: string, written: unknown): Json {
  const { value } = (written ?? {}) as { value?: unknown };
  const result = typeof value === "string" ? parsed(value) : undefined;
  if (result === undefined) throw new QueueError(`job ${id}: expected a value that Laurel's worker wrote, got another`);
  return result;
}

const MAX_TEXT = 4000;
const MAX_DETAILS = 16_000;
/** BullMQ's own words for a job whose workers vanished. */
const STALLED = /stalled more than allowable limit/;

/** Why a job failed, as a text. */
export function writeFailure(failure: JobFailure): string {
  const details = failure.details === undefined ? undefined : JSON.stringify(failure.details);
  return JSON.stringify({
    name: failure.name.slice(0, 100),
    message: redact(failure.message).slice(0, MAX_TEXT),
    ...(details === undefined || details.length > MAX_DETAILS ? {} : { details: JSON.parse(redact(details)) as Json }),
  });
}

/** As {@link writeFailure}, of a job that was cancelled. */
export const CANCELLED_TEXT = writeFailure(CANCELLED_FAILURE);

/** The failure that a failed job's text tells, whoever wrote it. */
export function readFailure(text: string | null | undefined): JobFailure {
  const told = text ?? "";
  if (STALLED.test(told)) {
    return {
      name: "WorkerVanished",
      message:
        "worker: expected to be there when the job ends, got several that vanished while they did it; the job may be what ends them (memory?)",
    };
  }
  const value = parsed(told);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { name: "Error", message: told === "" ? "failed without a reason" : told };
  }
  const { name, message, details } = value as { [key: string]: Json };
  return {
    name: typeof name === "string" ? name : "Error",
    message: typeof message === "string" ? message : told,
    ...(typeof details === "object" && details !== null && !Array.isArray(details)
      ? { details: details as NonNullable<JobFailure["details"]> }
      : {}),
  };
}

/** A BullMQ job as its status. */
export function statusOf(job: Job, state: JobStatus["state"]): JobStatus {
  const id = job.id ?? "";
  return {
    id,
    queue: job.queueName,
    data: dataOrNothing(id, job.data),
    priority: job.priority,
    state,
    attempts: job.attemptsMade,
    stalled: job.stalledCounter,
    failure: job.failedReason ? readFailure(job.failedReason) : null,
    addedAt: new Date(job.timestamp).toISOString(),
    finishedAt: job.finishedOn === undefined ? null : new Date(job.finishedOn).toISOString(),
  };
}

function dataOrNothing(id: string, written: unknown): JobStatus["data"] {
  try {
    return readWork(id, written);
  } catch {
    // a listing shows what others wrote, too
    return {};
  }
}

/** A JSON text's value, undefined for a text that is none. */
export function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}
