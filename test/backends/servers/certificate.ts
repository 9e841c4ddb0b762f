/**
 * @file A certificate for localhost that nobody signed but itself, and its key. Both are public and protect nothing; made by
 * `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1`.
 */

export const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUCPeyeRmwcuqeEq/bmiClTn5XbzwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjIzMTIyNVoYDzIxMjYxMDI5
MjMxMjI1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARC3zojSzh8aWCvIc+f8H98kEL6C1lo06orkZOu6z/Z3iXCVnYbzWSY
ahuOmPpvA5Ydwglw08RvXW8l9Xvf6z56o28wbTAdBgNVHQ4EFgQUsLe0ToAfHwDw
Xqa8EmAF0ya49hEwHwYDVR0jBBgwFoAUsLe0ToAfHwDwXqa8EmAF0ya49hEwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAIBSAAFJTMSxNjL2xQ1EGekPQ4QOc/jtOGpOhWqzdNL4AiEA
+anS6lnzu1IM8Ki7PYVoaUH8D4E8Wq4mNmMx6Y1eMj4=
-----END CERTIFICATE-----
`;

export const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZfSFNI78i1/nf/MR
1aPSWkgq1qn27RN8vKIRusi3eZ+hRANCAARC3zojSzh8aWCvIc+f8H98kEL6C1lo
06orkZOu6z/Z3iXCVnYbzWSYahuOmPpvA5Ydwglw08RvXW8l9Xvf6z56
-----END PRIVATE KEY-----
`;
