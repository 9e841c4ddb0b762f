/** @file The address of objects in S3, as a person writes it. */

import { UsageError } from "../errors.js";
import { closest } from "../util/closest.js";
import { isKey } from "./keys.js";

/** Where objects are. */
export interface S3Address {
  /** As it is shown: `s3://bucket/prefix`. */
  readonly address: string;
  readonly bucket: string;
  /** What all keys begin with, without the slash after it; "" for none. */
  readonly prefix: string;
  /** The server, where it is not Amazon's. */
  readonly endpoint: URL | undefined;
  readonly region: string | undefined;
  /** Whether the bucket is in the path rather than in the host's name. */
  readonly pathStyle: boolean | undefined;
}

const SETTINGS = ["endpoint", "region", "path-style"];

/** @throws UsageError for anything but `s3://bucket[/prefix]` with the settings it knows */
export function parseS3Address(url: URL): S3Address {
  const prefix = url.pathname.replace(/^\/|\/$/g, "");
  const where = `s3://${url.hostname}${prefix === "" ? "" : `/${prefix}`}`;
  const fail = (expected: string, actual: string): never => {
    throw new UsageError(`${where}: expected ${expected}, got ${actual}`);
  };
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{2,62}$/.test(url.hostname)) fail("a bucket", JSON.stringify(url.hostname));
  if (url.port !== "") fail("a bucket; a server is named by ?endpoint=http://host:port", `the port ${url.port}`);
  if (prefix !== "" && !isKey(prefix))
    fail('a prefix of letters, digits, ".", "_", "-" and "/"', JSON.stringify(prefix));
  if (url.hash !== "") fail("no #", url.hash);
  for (const name of url.searchParams.keys()) {
    if (SETTINGS.includes(name)) continue;
    const near = closest(name, SETTINGS);
    fail(`the settings ${SETTINGS.join(", ")}`, `${JSON.stringify(name)}${near === undefined ? "" : `; ${near}?`}`);
  }
  const endpoint = url.searchParams.get("endpoint") ?? undefined;
  const style = url.searchParams.get("path-style") ?? undefined;
  if (style !== undefined && style !== "true" && style !== "false") {
    fail("path-style=true or path-style=false", JSON.stringify(style));
  }
  return {
    address: where,
    bucket: url.hostname,
    prefix,
    endpoint: endpoint === undefined ? undefined : endpointOf(endpoint, where),
    region: url.searchParams.get("region") ?? undefined,
    pathStyle: style === undefined ? undefined : style === "true",
  };
}

/** @throws UsageError when `text` is no address of a server; `where` names what said it */
export function endpointOf(text: string, where: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
    const actual =
      url === undefined
        ? "something else"
        : `${url.protocol}//${url.host}${url.username === "" ? "" : " with credentials"}`;
    throw new UsageError(`${where}: expected an endpoint such as https://host:9000, got ${actual}`);
  }
  return url;
}
