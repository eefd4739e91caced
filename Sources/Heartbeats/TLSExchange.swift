import COpenSSL
import Glibc

/// Sends a request over TLS, and reads the answer. The server's certificate has to have the host's name or address.
///
/// The TLS library is libpq's own: another one would add megabytes to the program.
enum TLSExchange {
    static func send(
        _ request: String, over descriptor: Int32, host: String, authorities: [String], length: Int
    ) throws(HTTPFailure) -> String {
        guard let context = SSL_CTX_new(TLS_client_method()), SSL_CTX_set_default_verify_paths(context) == 1,
            // The macro SSL_CTX_set_min_proto_version, which overrides the system's configuration.
            SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil) == 1
        else { throw failure() }
        defer { SSL_CTX_free(context) }
        // The library's default paths are links of a package that a container image may lack.
        let bundle = authorities.first { access($0, R_OK) == 0 }
        if let bundle, SSL_CTX_load_verify_file(context, bundle) != 1 { throw failure() }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        guard let connection = SSL_new(context) else { throw failure() }
        defer { SSL_free(connection) }
        guard expect(host, on: connection), SSL_set_fd(connection, descriptor) == 1, SSL_connect(connection) == 1 else {
            let verification = SSL_get_verify_result(connection)
            guard verification == Int(X509_V_OK) else {
                throw .tls(String(cString: X509_verify_cert_error_string(verification)))
            }
            throw failure()
        }
        let bytes = Array(request.utf8)
        guard SSL_write(connection, bytes, Int32(bytes.count)) == Int32(bytes.count) else { return "" }
        return HTTPCall.text(length: length) { Int(SSL_read(connection, $0, Int32($1))) }
    }

    /// Sets the name or address that the server's certificate has to have. Returns false if that fails.
    private static func expect(_ host: String, on connection: OpaquePointer) -> Bool {
        // RFC 9525: the subject's common name names no server, and a wildcard is a whole label.
        SSL_set_hostflags(
            connection, UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        var address = in6_addr()
        if inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1 {
            return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(connection), host) == 1
        }
        // The macro SSL_set_tlsext_host_name (SNI): a server with many names has to know which is meant.
        let isNamed = host.withCString {
            SSL_ctrl(
                connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name),
                // OpenSSL copies the name and writes nothing to it.
                UnsafeMutableRawPointer(mutating: $0))
        }
        return isNamed == 1 && SSL_set1_host(connection, host) == 1
    }

    private static func failure() -> HTTPFailure {
        let code = ERR_get_error()
        guard code != 0 else { return .unanswered }
        var text = [CChar](repeating: 0, count: 256)
        ERR_error_string_n(code, &text, text.count)
        return .tls(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
}
