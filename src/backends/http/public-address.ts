/** @file Keeps addresses that come from a server's answer from leading into the local network. */

import { lookup as resolveName } from "node:dns";
import type { LookupFunction } from "node:net";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { HttpError } from "./error.js";

/** True for an address of the public internet: not loopback, private, link-local (cloud metadata), multicast, reserved or unspecified. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address); // an IPv4 address inside an IPv6 one is judged as what it is
  return parsed.range() === "unicast";
}

/** @throws HttpError when `url` is no http(s) address, carries a user name, or names a private address literally. */
export function checkPublicUrl(url: URL, where: string): void {
  const refuse = (actual: string): never => {
    throw new HttpError(`${where}: expected a public http(s) address, got ${actual}`, { fault: "bad-response" });
  };
  if (url.protocol !== "https:" && url.protocol !== "http:") refuse(url.protocol);
  if (url.username !== "" || url.password !== "") refuse("one with a user name");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0 && !isPublicAddress(host)) refuse(`the private address ${host}`);
}

/** Resolves names as usual and refuses those that lead to a private address. It is asked at the moment of connecting, so a name cannot change between check and use. */
export const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolveName(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) {
      callback(error, []);
      return;
    }
    const inside = addresses.find(({ address }) => !isPublicAddress(address));
    if (inside !== undefined || addresses.length === 0) {
      const refusal: NodeJS.ErrnoException = new Error(
        `expected a public address, got ${hostname} at ${inside?.address ?? "no address"}`,
      );
      refusal.code = "EPRIVATE";
      callback(refusal, []);
      return;
    }
    if (options.all === true) callback(null, addresses);
    else callback(null, addresses[0]!.address, addresses[0]!.family);
  });
};
