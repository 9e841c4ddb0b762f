/** @file What every JobQueue keeps to. */

import { randomUUID } from "node:crypto";
import { describe, expect, test, type TestContext } from "vitest";
import {
  JobError,
  JobFailedError,
  type JobQueue,
  type JobRequest,
  type TakenJob,
  type WorkOptions,
} from "#laurel/queue/contract";
import type { OpenQueueOptions } from "#laurel/queue/open";

type Connect = (options?: OpenQueueOptions) => Promise<JobQueue>;

/** A queue under test. */
export interface Subject {
  /** What opens connections to one server for one test. */
  session(): Connect;
  /** Submitters at once. */
  readonly many: number;
}

/** A job of its own in a queue of its own. */
export function request(queue: string, more: Partial<JobRequest> = {}): JobRequest {
  return { id: `j-${randomUUID()}`, queue, data: {}, priority: 10, ...more };
}

/** A name that no other test uses. */
export const uniqueName = (): string => `q-${randomUUID().slice(0, 8)}`;

/** Waits until `condition` holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** A handler that ends when it is told to, and honours the signal. */
export async function untilAborted(job: TakenJob): Promise<never> {
  return new Promise((_, reject) => {
    job.signal.addEventListener("abort", () => reject(new Error("aborted")), { once: true });
  });
}

const worker = { name: "host-1" } as const;

/** Runs the suite. @param beside more tests that may run at the same time */
export function describeQueue(subject: Subject, beside?: () => void): void {
  /** Connections of one test; they are closed when it ends. */
  const begin = ({ onTestFinished }: Pick<TestContext, "onTestFinished">): Connect => {
    const connect = subject.session();
    return async (options) => {
      const queue = await connect(options);
      onTestFinished(async () => queue.close());
      return queue;
    };
  };

  describe.concurrent("as every job queue", () => {
    beside?.();

    test("a job is done once for all who submit it, and its value is what the handler returned", async (context) => {
      const connect = begin(context);
      const [here, there] = [await connect(), await connect()];
      const data = { z: [1, 1.5, null, "ä\u0000\ud800"], a: { deep: true }, "": -0.25 };
      const job = request(uniqueName(), { data });
      const taken: TakenJob[] = [];
      await there.work(
        [job.queue],
        async (each) => {
          taken.push(each);
          return Promise.resolve(each.data);
        },
        worker,
      );
      expect(await Promise.all([here.run(job), here.run(job), there.run(job)])).toEqual([data, data, data]);
      expect(await here.run(job)).toEqual(data);
      expect(taken.map(({ id, queue, attempt }) => ({ id, queue, attempt }))).toEqual([
        { id: job.id, queue: job.queue, attempt: 1 },
      ]);
      expect(Object.keys(taken[0]!.data)).toEqual(["z", "a", ""]);
    });

    test("a job that fails is tried again, later and not forever", async (context) => {
      const connect = begin(context);
      const queue = await connect({ retryDelayMs: 20, attempts: 3 });
      const [name, attempts] = [uniqueName(), [] as number[]];
      await queue.work(
        [name],
        async ({ attempt, data }) => {
          attempts.push(attempt);
          if (attempt < Number(data["good"])) throw new Error(`bad luck ${attempt}`);
          return Promise.resolve(attempt);
        },
        worker,
      );
      expect(await queue.run(request(name, { data: { good: 3 } }))).toBe(3);
      const hopeless = request(name, { data: { good: 99 } });
      await expect(queue.run(hopeless)).rejects.toThrow(new JobFailedError(hopeless.id, { name: "Error", message: "bad luck 3" })); // prettier-ignore
      expect(attempts).toEqual([1, 2, 3, 1, 2, 3]);
    });

    test("a job that would fail again fails once, with what its worker told; submitted again it is tried again", async (context) => {
      const connect = begin(context);
      const queue = await connect();
      const job = request(uniqueName());
      const failure = { name: "UsageError", message: "no such model", details: { model: "sd-9", line: 3 } };
      let calls = 0;
      await queue.work(
        [job.queue],
        async () => {
          if (++calls === 1) throw new JobError(failure, false);
          return Promise.resolve("ok");
        },
        worker,
      );
      const error = await queue.run(job).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(JobFailedError);
      expect(error).toMatchObject({ jobId: job.id, failure });
      expect(calls).toBe(1);
      expect(await (await connect()).run(job)).toBe("ok");
    });

    test("a job that a worker cannot do is done by one that can, and fails once none can", async (context) => {
      const connect = begin(context);
      const queue = await connect({ retryDelayMs: 20, attempts: 2 });
      const name = uniqueName();
      const calls = { lacks: 0, has: 0 };
      const lacks = async (): Promise<never> => {
        calls.lacks++;
        throw new JobError({ name: "ModelError", message: "no such model here" }, "elsewhere");
      };
      const has = async ({ attempt }: TakenJob): Promise<number> => {
        calls.has++;
        await new Promise((resolve) => setTimeout(resolve, 30));
        return attempt;
      };
      await (await connect()).work([name], lacks, { ...worker, name: "lacks", concurrency: 4 });
      const able = await (await connect()).work([name], has, { ...worker, name: "has" });
      const values = await Promise.all(Array.from({ length: 12 }, async () => queue.run(request(name))));
      expect(values).toEqual(Array.from({ length: 12 }, () => 1));
      expect(calls.has).toBe(12);
      // each job once at most
      expect(calls.lacks).toBeLessThanOrEqual(12);
      expect(calls.lacks).toBeGreaterThan(0);
      // nobody has anything else to do
      for (let i = 0; i < 5; i++) {
        const begun = performance.now();
        expect(await queue.run(request(name, { priority: i % 2 }))).toBe(1);
        expect(performance.now() - begun).toBeLessThan(5000);
      }
      await able.close();
      calls.lacks = 0;
      await until(async () => (await queue.workers(name)).length === 1);
      await expect(queue.run(request(name))).rejects.toThrow("no such model here");
      expect(calls.lacks).toBe(2);
    });

    test("what is urgent is done first", async (context) => {
      const connect = begin(context);
      const queue = await connect();
      const [name, done] = [uniqueName(), [] as unknown[]];
      const runs = [7, 2_097_151, 0, 100, 7].map((priority, order) =>
        queue.run(request(name, { priority, data: { priority, order } })),
      );
      await until(async () => (await queue.counts(name)).waiting === 5);
      await queue.work([name], async ({ data }) => Promise.resolve(done.push(data["priority"] ?? null)), worker);
      await Promise.all(runs);
      expect(done).toEqual([0, 7, 7, 100, 2_097_151]);
    });

    test("a rate holds for all workers of a queue together", async (context) => {
      const connect = begin(context);
      const [here, there] = [await connect(), await connect()];
      const [name, begun] = [uniqueName(), [] as number[]];
      const options = { ...worker, concurrency: 5, rate: { jobs: 2, perMs: 250 } };
      const handler = async (): Promise<number> => Promise.resolve(begun.push(performance.now()));
      await here.work([name], handler, options);
      await there.work([name], handler, options);
      await Promise.all(Array.from({ length: 6 }, async () => here.run(request(name))));
      // two each 250 ms: the last of six cannot begin before two such spans, less what clocks differ
      expect(begun.at(-1)! - begun[0]!).toBeGreaterThan(2 * 250 - 100);
    });

    test("a submitter that gives up takes a waiting job back", async (context) => {
      const connect = begin(context);
      const queue = await connect();
      const job = request(uniqueName());
      const stop = new AbortController();
      const run = queue.run(job, { signal: stop.signal });
      await until(async () => (await queue.find(job.id)) !== undefined);
      stop.abort();
      await expect(run).rejects.toMatchObject({ name: "CancelledError" });
      expect(await queue.find(job.id)).toBeUndefined();
      await expect(queue.run(job, { signal: stop.signal })).rejects.toMatchObject({ name: "CancelledError" });
    });

    test("a submitter that gives up has the worker of its job stop, wherever it is", async (context) => {
      const connect = begin(context);
      const [here, there] = [await connect(), await connect()];
      const job = request(uniqueName());
      await there.work([job.queue], untilAborted, worker);
      const stop = new AbortController();
      const run = here.run(job, { signal: stop.signal });
      await until(async () => (await here.find(job.id))?.state === "active");
      stop.abort();
      await expect(run).rejects.toMatchObject({ name: "CancelledError" });
      await until(async () => (await here.find(job.id))?.state === "failed");
      expect(await here.find(job.id)).toMatchObject({ failure: { name: "CancelledError" }, attempts: 1 });
    });

    test.for(["waiting", "active"] as const)(
      "one of two submitters gives up a job that is %s, the other gets its value",
      async (state, context) => {
        const connect = begin(context);
        const [here, there, third] = [await connect(), await connect(), await connect()];
        const job = request(uniqueName());
        const stop = new AbortController();
        let free = false;
        const handler = async (taken: TakenJob): Promise<string> =>
          free ? Promise.resolve("done") : untilAborted(taken);
        const [given, kept] = [here.run(job, { signal: stop.signal }), there.run(job)];
        if (state === "active") await third.work([job.queue], handler, worker);
        await until(async () => (await third.find(job.id))?.state === state);
        // the other has been seen, too
        await new Promise((resolve) => setTimeout(resolve, 100));
        free = state === "waiting";
        stop.abort();
        await expect(given).rejects.toMatchObject({ name: "CancelledError" });
        free = true;
        if (state === "waiting") await third.work([job.queue], handler, worker);
        else await third.cancel(job.id);
        expect(await kept).toBe("done");
      },
    );

    test("an administrator lists, finds, counts, cancels, retries and removes", async (context) => {
      const connect = begin(context);
      const [queue, admin] = [await connect(), await connect()];
      const [name, other] = [uniqueName(), uniqueName()];
      let bad = true;
      await queue.work(
        [name],
        async ({ data, signal, ...rest }) => {
          if (data["hang"] === true) return untilAborted({ data, signal, ...rest });
          if (bad && data["bad"] === true) throw new JobError({ name: "Error", message: "bad" }, false);
          return Promise.resolve(1);
        },
        { name: "rack 7/gpu:0", concurrency: 2 },
      );
      const good = request(name);
      const failed = request(name, { data: { bad: true } });
      const hanging = request(name, { data: { hang: true } });
      const waiting = request(other, { priority: 3, data: { x: 1 } });
      await queue.run(good);
      await expect(queue.run(failed)).rejects.toThrow("bad");
      // the other submitters of jobs that an administrator cancels would submit them again
      const stop = new AbortController();
      const gone = [hanging, waiting].map((job) => queue.run(job, { signal: stop.signal }).catch(() => undefined));
      await until(async () => (await admin.find(hanging.id))?.state === "active");
      await until(async () => (await admin.find(waiting.id))?.state === "waiting");

      expect(await admin.queues()).toEqual(expect.arrayContaining([name, other]));
      expect(await admin.workers(name)).toEqual([expect.stringMatching(/^rack.7\/gpu:0$/)]);
      expect(await admin.counts(name)).toEqual({ waiting: 0, delayed: 0, active: 1, completed: 1, failed: 1 });
      expect((await admin.list({ queue: name }, 10)).map(({ id }) => id).sort()).toEqual(
        [good.id, failed.id, hanging.id].sort(),
      );
      expect(await admin.list({ queue: name, states: ["failed"] }, 10)).toEqual([
        {
          ...failed,
          state: "failed",
          attempts: 1,
          stalled: 0,
          failure: { name: "Error", message: "bad" },
          addedAt: expect.stringMatching(/^\d{4}-.*Z$/) as string,
          finishedAt: expect.stringMatching(/^\d{4}-.*Z$/) as string,
        },
      ]);
      expect(await admin.find(waiting.id)).toMatchObject({ ...waiting, state: "waiting", finishedAt: null });
      expect(await admin.list({}, 1)).toHaveLength(1);

      expect(await admin.retry(good.id)).toBe(false);
      expect(await admin.cancel(good.id)).toBe(false);
      expect(await admin.remove(hanging.id)).toBe(false);
      bad = false;
      expect(await admin.retry(failed.id)).toBe(true);
      await until(async () => (await admin.find(failed.id))?.state === "completed");
      expect(await admin.remove(failed.id)).toBe(true);
      expect(await admin.find(failed.id)).toBeUndefined();
      for (const nothing of ["no-such-job", "a:b", "", "1"]) {
        expect(await admin.find(nothing)).toBeUndefined();
        expect([await admin.retry(nothing), await admin.cancel(nothing), await admin.remove(nothing)]).toEqual([false, false, false]); // prettier-ignore
      }
      stop.abort();
      await Promise.all(gone);
      await until(async () => (await admin.find(hanging.id))?.state === "failed");
      expect(await admin.find(waiting.id)).toBeUndefined();
    });

    test("a worker that is closed gives back what it cannot end, as if it had not begun", async (context) => {
      const connect = begin(context);
      const [here, there] = [await connect(), await connect()];
      const job = request(uniqueName());
      const deaf = await here.work([job.queue], async () => new Promise(() => undefined), {
        ...worker,
        lockMs: 60_000,
      });
      const run = there.run(job);
      await until(() => deaf.active === 1);
      // it has nothing else to do, and waits
      await there.work([job.queue], async ({ attempt }) => Promise.resolve({ attempt }), worker);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const begun = performance.now();
      await deaf.close(50);
      expect(await run).toEqual({ attempt: 1 });
      expect(performance.now() - begun).toBeLessThan(8000);
    });

    test("a worker that is closed ends what it has begun, and takes nothing more", async (context) => {
      const connect = begin(context);
      const queue = await connect();
      const name = uniqueName();
      let release = (): void => undefined;
      const ended: boolean[] = [];
      const closing = await queue.work(
        [name],
        async () => new Promise((resolve) => (release = () => resolve("ended"))),
        { ...worker, onJob: ({ ok }) => ended.push(ok) },
      );
      const [first, second] = [request(name), request(name)];
      const run = queue.run(first);
      await until(() => closing.active === 1);
      const left = queue.run(second).catch((error: unknown) => (error as Error).name);
      await until(async () => (await queue.find(second.id))?.state === "waiting");
      const closed = closing.close();
      release();
      expect(await run).toBe("ended");
      await closed;
      expect(ended).toEqual([true]);
      expect(await queue.find(second.id)).toMatchObject({ state: "waiting" });
      await queue.close();
      expect(await left).toBe("BackendError");
      await expect(queue.run(first)).rejects.toThrow("expected an open queue");
    });

    test.for<[string, Partial<JobRequest>, string]>([
      ["an id with a colon", { id: "a:b" }, "expected an id"],
      ["an id of digits", { id: "123" }, "with a letter"],
      ["a queue with a colon", { queue: "a:b" }, "expected a name of 1 to 100"],
      ["a priority that is too large", { priority: 2_097_152 }, "expected a priority of 0 to 2097151, got 2097152"],
      ["a priority that is not whole", { priority: 0.5 }, "got 0.5"],
      ["data that is a picture", { data: { x: "y".repeat(1_000_001) } }, "characters of data"],
    ])("%s is refused", async ([, wrong, message], context) => {
      const queue = await begin(context)();
      const error = await queue.run(request("q", wrong)).catch((fault: unknown) => fault);
      context.expect((error as Error).message).toContain(message);
    });

    test.for<[string, string[], Partial<WorkOptions>, string]>([
      ["a queue with a colon", ["a:b"], {}, "expected a name"],
      ["no queue", [], {}, "expected queues"],
      ["no job at once", ["a"], { concurrency: 0 }, "expected a concurrency of at least 1, got 0"],
      ["a lock of no time", ["a"], { lockMs: Number.NaN }, "lockMs"],
      ["a rate of nothing", ["a"], { rate: { jobs: 0, perMs: 1 } }, "rate.jobs"],
    ])("a worker of %s is refused", async ([, names, options, message], context) => {
      const queue = await begin(context)();
      const handler = async (): Promise<number> => Promise.resolve(1);
      await context.expect(queue.work(names, handler, { ...worker, ...options })).rejects.toThrow(message);
    });
  });

  test("300 submitters with one signal give up at once", async (context) => {
    const queue = await begin(context)();
    const warnings: string[] = [];
    const warned = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", warned);
    const [name, stop] = [uniqueName(), new AbortController()];
    const runs = Array.from({ length: 300 }, async () => queue.run(request(name), { signal: stop.signal }));
    await until(async () => (await queue.counts(name)).waiting === 300);
    stop.abort();
    const ends = await Promise.allSettled(runs);
    expect(new Set(ends.map((end) => (end as { reason?: Error }).reason?.name))).toEqual(new Set(["CancelledError"]));
    await until(async () => (await queue.counts(name)).waiting === 0);
    process.off("warning", warned);
    expect(warnings).toEqual([]);
  });

  test(`${subject.many} submitters wait at once`, async (context) => {
    const connect = begin(context);
    const [here, there] = [await connect(), await connect()];
    const name = uniqueName();
    await there.work([name], async ({ data }) => Promise.resolve(data["index"] ?? null), {
      ...worker,
      concurrency: 20,
    });
    const values = await Promise.all(
      Array.from({ length: subject.many }, async (_, index) => here.run(request(name, { data: { index } }))),
    );
    expect(values).toEqual(Array.from({ length: subject.many }, (_, index) => index));
  });
}
