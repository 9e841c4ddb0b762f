import { afterAll, beforeAll, describe } from "vitest";
import { openQueue } from "#laurel/queue/open";
import { describeQueue } from "./conformance.js";
import { noPostgres, startPostgres, type TestServer } from "./servers.js";

const why = noPostgres();

describe.skipIf(why !== undefined)(`a queue on PostgreSQL${why === undefined ? "" : `: skipped, ${why}`}`, () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => server.remove());
  describeQueue({ session: () => async (options) => openQueue(server.address, options), many: 300 });
});
