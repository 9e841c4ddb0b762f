import { once } from "node:events";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { greys, post } from "../web/ask.js";
import { finish, start } from "./processes.js";
import { laurel } from "./terminal.js";

const TOKEN = "correct-horse-battery-staple";

test.each([
  [["serve"], {}, /laurel serve: expected --score, which serves scores over HTTP/],
  [["serve", "--score", "--host", "0.0.0.0"], {}, /host 0\.0\.0\.0: expected a token/],
  [["serve", "--score", "--token-env", "NOTHING"], {}, /--token-env: expected a token in .* NOTHING, got none/],
  [["serve", "--score", "--token-env", "A", "--token-file", "b"], {}, /expected one of them, got both/],
  [["serve", "--score", "--token-file", "/nowhere/token"], {}, /token: \/nowhere\/token: expected a file/],
  [["serve", "--score"], { LAUREL_TOKEN: "short" }, /token: expected at least 16 characters, got 5/],
  [["serve", "--score", "--host", "192.0.2.1"], { LAUREL_TOKEN: TOKEN }, /192\.0\.2\.1:8787: expected a free port/],
  [["serve", "--score", "--allow-origin", "*"], {}, /origin: expected one such as/],
] as const)("%o is refused", async (args, environment, message) => {
  const { exitCode, stderr, stdout } = await laurel(args, { environment });
  expect([exitCode, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(message);
});

test("a reward that is not there ends the start", async () => {
  const { exitCode, stderr } = await laurel(["serve", "--score", "--port", "0", "--reward-model", "/nowhere/missing"]);
  expect(exitCode).toBe(5);
  expect(stderr).toMatch(/expected a model/);
});

test("the executable serves until SIGTERM, says no prompt and no token, and ends with 143", async () => {
  const args = ["serve", "--score", "--port", "0", "--json", "--max-images", "2"];
  const child = start(args, { cwd: tmpdir(), environment: { LAUREL_TOKEN: TOKEN } });
  const ended = finish(child);
  let printed = "";
  child.stdout?.on("data", (part: Buffer) => (printed += part.toString()));
  while (!printed.endsWith("}\n")) await once(child.stdout!, "data");
  const { url, reward } = JSON.parse(printed) as { url: string; reward: { name: string } };
  expect(reward.name).toBe("image-reward");
  const images = (await greys(10, 200)).map((bytes) => bytes.toString("base64"));
  const request = { prompt: "a very private wish", images };
  expect((await post(url, "/v1/score", request)).status).toBe(401);
  const { status, json } = await post(url, "/v1/score", request, { authorization: `Bearer ${TOKEN}` });
  expect([status, json.results.length]).toEqual([200, 2]);
  child.kill("SIGTERM");
  const { code, stderr } = await ended;
  expect(code).toBe(143);
  expect(stderr).toMatch(/^POST \/v1\/score 401, \d+ ms\nPOST \/v1\/score 200, 2 pictures, \d+ ms\n$/);
});
