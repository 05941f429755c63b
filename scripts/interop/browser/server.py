"""A web server that wants a client certificate, and greets its subject. Arguments: port, TLS version (1.2 or 1.3)."""

import http.server
import ssl
import sys


class Greeting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        subject = dict(pair for each in self.connection.getpeercert()["subject"] for pair in each)
        page = f"<!doctype html><title>hello {subject['commonName']}</title><h1>hello {subject['commonName']}</h1><p>{self.connection.version()}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
        if self.path == "/":
            print("greeted", subject["commonName"], self.connection.version(), flush=True)


class Server(http.server.ThreadingHTTPServer):
    # A browser opens connections that it gives up: their failures are theirs.
    def handle_error(self, request, client_address):
        print("not greeted:", sys.exc_info()[1], flush=True)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.crt", "server.key")
context.load_verify_locations("ca.crt")
context.verify_mode = ssl.CERT_REQUIRED
context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv{sys.argv[2].replace('.', '_')}"]
server = Server(("127.0.0.1", int(sys.argv[1])), Greeting)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
