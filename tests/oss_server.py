"""An object store on loopback that answers what oss2 asks for objects and their lists."""

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.loopback import listening

KEY = "oss-test"
BUCKET = "forum"
_INFO = (
    f"<BucketInfo><Bucket><Name>{BUCKET}</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate><StorageClass>Standard</StorageClass>"
    "<ExtranetEndpoint>here</ExtranetEndpoint><IntranetEndpoint>here</IntranetEndpoint><Location>here</Location>"
    "<Owner><DisplayName>us</DisplayName><ID>1</ID></Owner><AccessControlList><Grant>private</Grant></AccessControlList>"
    "</Bucket></BucketInfo>"
)


class Bucket(dict[str, bytes]):
    """What the store holds, by name, and its `url`."""

    url = ""


@contextmanager
def bucket():
    """Listen on a free port of loopback."""
    objects = Bucket()

    with listening(_Handler, held=objects) as objects.url:
        yield objects


class _Handler(BaseHTTPRequestHandler):
    held: Bucket

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        _, bucket_name, name = unquote(url.path).split("/", 2)
        if not self.headers.get("Authorization", "").startswith(f"OSS {KEY}:"):
            self._refuse(403, "AccessDenied")
        elif bucket_name != BUCKET:
            self._refuse(404, "NoSuchBucket")
        elif not name:
            self._answer(200, (_INFO if "bucketInfo" in query else self._list(query["prefix"], query["delimiter"])).encode())
        elif name not in self.held:
            self._refuse(404, "NoSuchKey")
        elif asked := self.headers.get("Range"):
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            self._answer(206, self.held[name][first : last + 1])
        else:
            self._answer(200, self.held[name])

    def do_HEAD(self):
        self.do_GET()

    def do_PUT(self):
        name = unquote(urlsplit(self.path).path).split("/", 2)[2]
        self.held[name] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def _list(self, prefix, delimiter):
        inside = {name: name.removeprefix(prefix).partition(delimiter) for name in sorted(self.held) if name.startswith(prefix)}
        folders = {prefix + first + delimiter for first, further, _ in inside.values() if further}
        entries = [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders] + [
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>1</ETag>"
            f"<Type>Normal</Type><Size>{len(self.held[name])}</Size><StorageClass>Standard</StorageClass></Contents>"
            for name, (_, further, _) in inside.items()
            if not further
        ]
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(entries)}</ListBucketResult>"

    def _refuse(self, status, code):
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
