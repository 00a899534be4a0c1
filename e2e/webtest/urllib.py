"""Python's urllib and http.client through doorward."""
import http.client, json, os, ssl, urllib.error, urllib.parse, urllib.request

base, token = os.environ["BASE"], os.environ["TOKEN"]
tls = ssl.create_default_context(cafile=os.environ["CA"])
headers = {"Authorization": "Bearer " + token, "Cookie": "a=client-cookie", "X-Forwarded-For": "6.6.6.6"}
kind = {"Content-Type": "application/json"}


def ok(what):
    print("ok " + what)


def call(method, path, body=None, more={}):
    req = urllib.request.Request(base + path, data=body, method=method, headers={**headers, **more})
    with urllib.request.urlopen(req, context=tls, timeout=20) as r:
        return r.status, r.read()


s, b = call("GET", "/v1/things?a=1&b=two%20words")
assert json.loads(b)["uri"] == "/v1/things?a=1&b=two%20words", b
ok("get")
s, b = call("HEAD", "/v1/things")
assert (s, b) == (200, b""), b
ok("head")
s, b = call("POST", "/v1/refunds", b'{"amount":7}', kind)
assert json.loads(b)["size"] == 12
ok("post")
try:
    call("POST", "/v1/refunds", b'{"amount":700}', kind)
    raise SystemExit("it was not denied")
except urllib.error.HTTPError as e:
    assert e.code == 403 and json.load(e)["type"] == "urn:doorward:denied"
ok("denied")
assert json.loads(call("PUT", "/v1/things/7", b"{}", kind)[1])["method"] == "PUT"
ok("put")
assert json.loads(call("DELETE", "/v1/things/7")[1])["method"] == "DELETE"
ok("delete")
assert len(json.loads(call("GET", "/v1/big")[1])["rows"]) == 20000
ok("big")
assert json.loads(call("GET", "/v1/gzip", more={"Accept-Encoding": "gzip"})[1])["packed"] is True
ok("gzip")

u = urllib.parse.urlsplit(base)
c = http.client.HTTPSConnection(u.hostname, u.port, context=tls, timeout=20)
c.connect()
sock = c.sock
for i in range(2):
    c.request("GET", "%s/v1/things?n=%d" % (u.path, i), headers=headers)
    assert json.loads(c.getresponse().read())["uri"] == "/v1/things?n=%d" % i
    assert c.sock is sock, "the connection was not kept"
ok("keep-alive")
c.request("POST", u.path + "/v1/upload", body=(b"a" * 1000 for _ in range(40)), encode_chunked=True,
          headers={**headers, "Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"})
assert json.loads(c.getresponse().read())["size"] == 40000
ok("chunked")
