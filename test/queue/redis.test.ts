import { afterAll, beforeAll, describe } from "vitest";
import { openQueue } from "#laurel/queue/open";
import { describeQueue } from "./conformance.js";
import { noRedis, startRedis, type TestServer } from "./servers.js";

const why = noRedis();

describe.skipIf(why !== undefined)(`a queue on Redis${why === undefined ? "" : `: skipped, ${why}`}`, () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => server.remove());
  describeQueue({ session: () => async (options) => openQueue(server.address, options), many: 5000 });
});
