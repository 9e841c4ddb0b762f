import { describe } from "vitest";
import { openMemoryQueue } from "#laurel/queue/memory";
import type { JobQueue } from "#laurel/queue/contract";
import { describeQueue } from "./conformance.js";

describe("a queue in memory", () => {
  describeQueue({
    // what is in one process is one connection
    session: () => {
      let queue: JobQueue | undefined;
      return async (options) => Promise.resolve((queue ??= openMemoryQueue(options)));
    },
    many: 5000,
  });
});
