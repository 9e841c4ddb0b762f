import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodePng } from "#laurel/image/png";
import { type Answer, type ScriptedServer, startServer } from "../backends/servers/scripted-server.js";
import { paint } from "../backends/servers/webui-server.js";
import { withFiles } from "../pipeline/document/bad-document.js";
import { finish, start } from "./processes.js";

const KEY = "sk-Zq9/verysecret+key=42";
/** As the key may look in an answer. */
const FORMS = [KEY, encodeURIComponent(KEY), Buffer.from(KEY).toString("base64"), JSON.stringify(KEY).slice(1, -1)];

let server: ScriptedServer;
let mode: "draw" | "refuse" | "deny" = "draw";

beforeAll(async () => {
  // every answer says the key, as servers and proxies do that show what they were sent
  const echo = { message: `what you sent: Bearer ${KEY}, ${FORMS.join(" ")}` };
  server = await startServer(async ({ headers }): Promise<Answer> => {
    if (headers.authorization !== `Bearer ${KEY}`) return { status: 401, json: { error: { message: "no key" } } };
    if (mode === "refuse") return { status: 400, json: { error: { ...echo, type: "invalid_request_error" } } };
    if (mode === "deny") return { status: 401, json: { error: { ...echo, code: "invalid_api_key" } } };
    const png = await encodePng(paint(1, { width: 64, height: 64 }));
    const one = { b64_json: Buffer.from(png).toString("base64"), revised_prompt: `a dog; ${echo.message}` };
    return { json: { created: 1, data: [one] } };
  });
});
afterAll(() => server.close());

/** Every file below a folder, as it would be searched for a secret. */
async function contents(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if ((await stat(path)).isFile()) files.set(name, await readFile(path, "latin1"));
  }
  return files;
}

describe("a key in the environment", () => {
  const yaml = (url: string): string => `version: 1
prompts: [a cat]
seed: 1
backend: { backend: openai, url: "${url}/v1", key: { env: OWN_KEY }, retries: 0 }
steps: [{ generate: { count: 1 } }, score:, { export: { format: jsonl, what: all } }]
`;
  it.each([
    ["draw", 0],
    ["refuse", 4],
    ["deny", 3],
  ] as const)("is nowhere in what a run leaves or prints when the server echoes it: %s", async (answer, expected) => {
    mode = answer;
    await withFiles({ "p.yaml": yaml(server.url) }, async (folder) => {
      const environment = { OWN_KEY: KEY, OPENAI_API_KEY: "" };
      const args = ["run", "p.yaml", "--out", "runs", "--json", "--debug"];
      const { code, stdout, stderr } = await finish(start(args, { cwd: folder, environment }));
      expect(code, stderr).toBe(expected);
      const files = await contents(join(folder, "runs"));
      for (const name of ["run.json", "plan.json"])
        expect([...files.keys()].some((path) => path.endsWith(name))).toBe(true);
      if (answer === "draw") expect([...files.values()].join()).toContain("a dog; what you sent");
      else expect([...files.values(), stderr].join()).toContain("[redacted]");
      for (const [name, content] of [...files, ["stdout", stdout], ["stderr", stderr]] as const) {
        for (const form of FORMS) expect(content.includes(form), `${form} in ${name}`).toBe(false);
      }
    });
  });

  it("may be in a file, relative to the document, and is read when it is needed", async () => {
    mode = "draw";
    const document = yaml(server.url).replace("{ env: OWN_KEY }", "{ file: secrets/key }");
    await withFiles({ "p.yaml": document, "secrets/key": `${KEY}\n` }, async (folder) => {
      const { code, stderr } = await finish(
        start(["run", join(folder, "p.yaml"), "--out", join(folder, "runs")], { cwd: "/" }),
      );
      expect(code, stderr).toBe(0);
      const files = await contents(join(folder, "runs"));
      expect([...files.values()].some((content) => FORMS.some((form) => content.includes(form)))).toBe(false);
      expect((await finish(start(["check", join(folder, "p.yaml")], { cwd: "/" }))).code).toBe(0);
    });
  });
});
