// What a Java program asks of a PKCS#11 token, each result checked by Java's own software providers.
// Usage: java Client.java CONFIGURATION   (the PIN in the environment variable PIN)

import java.io.InputStream;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.security.cert.Certificate;
import java.security.spec.*;
import java.util.*;
import java.util.concurrent.*;
import javax.crypto.*;
import javax.crypto.spec.*;
import javax.net.ssl.*;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;

public class Client {
    static final byte[] DATA = new byte[100_000];
    static Provider token;
    static KeyStore store;
    static int checks;

    public static void main(String[] args) throws Exception {
        new Random(1).nextBytes(DATA);
        token = Security.getProvider("SunPKCS11").configure(args[0]);
        // Behind the software providers: what is to happen in the token names it, or finds it by its key.
        Security.addProvider(token);
        store = KeyStore.getInstance("PKCS11", token);
        store.load(null, System.getenv("PIN").toCharArray());

        signatures();
        ciphers();
        rsaCipher();
        macs();
        digests();
        agreement();
        random();
        wrapping();
        threads();
        https("rsa");
        https("ec");
        System.out.println(checks + " checks");
    }

    static void check(String what, boolean good) {
        if (!good) throw new AssertionError(what);
        checks++;
        System.out.println("ok  " + what);
    }

    static PrivateKey key(String alias) throws Exception {
        return (PrivateKey) store.getKey(alias, null);
    }

    static PublicKey certified(String alias) throws Exception {
        PublicKey key = store.getCertificate(alias).getPublicKey();
        // A plain copy, which the software providers take.
        return KeyFactory.getInstance(key.getAlgorithm(), software(key.getAlgorithm()))
            .generatePublic(new X509EncodedKeySpec(key.getEncoded()));
    }

    static String software(String algorithm) {
        return algorithm.equals("EC") ? "SunEC" : "SunRsaSign";
    }

    static void signatures() throws Exception {
        for (String name : List.of("SHA1withRSA", "SHA256withRSA", "SHA384withRSA", "SHA512withRSA")) sign(name, "rsa", null);
        for (String name : List.of("SHA256withECDSA", "SHA384withECDSA", "SHA512withECDSA")) sign(name, "ec", null);
        sign("RSASSA-PSS", "rsa", new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
        sign("RSASSA-PSS", "rsa", new PSSParameterSpec("SHA-512", "MGF1", MGF1ParameterSpec.SHA512, 64, 1));
        edwards();
    }

    /// A pair made in the token, where this Java's provider can.
    static void edwards() throws Exception {
        KeyPairGenerator generator;
        Signature signer;
        try {
            generator = KeyPairGenerator.getInstance("Ed25519", token);
            signer = Signature.getInstance("Ed25519", token);
        } catch (NoSuchAlgorithmException none) {
            System.out.println("--  this Java's provider has no Ed25519");
            return;
        }
        KeyPair pair = generator.generateKeyPair();
        signer.initSign(pair.getPrivate());
        signer.update(DATA);
        byte[] signature = signer.sign();
        Signature verifier = Signature.getInstance("Ed25519", "SunEC");
        verifier.initVerify(KeyFactory.getInstance("Ed25519", "SunEC").generatePublic(new X509EncodedKeySpec(pair.getPublic().getEncoded())));
        verifier.update(DATA);
        check("Ed25519: software verifies", verifier.verify(signature));
    }

    static void sign(String name, String alias, AlgorithmParameterSpec parameters) throws Exception {
        Signature signer = Signature.getInstance(name, token);
        if (parameters != null) signer.setParameter(parameters);
        signer.initSign(key(alias));
        // Two pieces of odd lengths, then once more with the same object.
        for (int round = 0; round < 2; round++) {
            signer.update(DATA, 0, 77);
            signer.update(DATA, 77, DATA.length - 77);
            byte[] signature = signer.sign();
            check(name + ": software verifies", verify(Signature.getInstance(name, software(certified(alias).getAlgorithm())), alias, parameters, signature));
            check(name + ": the token verifies", verify(Signature.getInstance(name, token), alias, parameters, signature));
            // The last byte lies in the number itself, not in the DER around it.
            signature[signature.length - 1] ^= 1;
            check(name + ": the token refuses another", !verify(Signature.getInstance(name, token), alias, parameters, signature));
        }
    }

    static boolean verify(Signature verifier, String alias, AlgorithmParameterSpec parameters, byte[] signature) throws Exception {
        if (parameters != null) verifier.setParameter(parameters);
        verifier.initVerify(certified(alias));
        verifier.update(DATA);
        return verifier.verify(signature);
    }

    static SecretKeySpec bytes(String algorithm, int length) {
        return new SecretKeySpec(Arrays.copyOfRange(DATA, 0, length), algorithm);
    }

    static void ciphers() throws Exception {
        for (int length : new int[] {16, 24, 32}) {
            for (String name : List.of("AES/CBC/PKCS5Padding", "AES/CBC/NoPadding", "AES/ECB/NoPadding", "AES/ECB/PKCS5Padding", "AES/CTR/NoPadding", "AES/GCM/NoPadding")) {
                cipher(name, length);
            }
        }
        KeyGenerator generator = KeyGenerator.getInstance("AES", token);
        generator.init(256);
        SecretKey made = generator.generateKey();
        byte[] iv = Arrays.copyOf(DATA, 16);
        byte[] secret = run("AES/CBC/PKCS5Padding", token, Cipher.ENCRYPT_MODE, made, new IvParameterSpec(iv), 1000);
        check("a generated AES key decrypts what it encrypted",
            Arrays.equals(Arrays.copyOf(DATA, 1000), apply("AES/CBC/PKCS5Padding", token, Cipher.DECRYPT_MODE, made, new IvParameterSpec(iv), secret)));
        SecretKey kept = (SecretKey) store.getKey("aes", null);
        secret = run("AES/GCM/NoPadding", token, Cipher.ENCRYPT_MODE, kept, new GCMParameterSpec(128, DATA, 0, 12), 1000);
        secret[5] ^= 1;
        try {
            apply("AES/GCM/NoPadding", token, Cipher.DECRYPT_MODE, kept, new GCMParameterSpec(128, DATA, 0, 12), secret);
            check("an altered GCM ciphertext is refused", false);
        } catch (AEADBadTagException | ProviderException expected) {
            check("an altered GCM ciphertext is refused", true);
        }
    }

    static void cipher(String name, int keyLength) throws Exception {
        Key key = bytes("AES", keyLength);
        AlgorithmParameterSpec parameters = name.contains("GCM") ? new GCMParameterSpec(128, DATA, 500, 12)
            : name.contains("ECB") ? null : new IvParameterSpec(DATA, 500, 16);
        for (int length : new int[] {0, 16, 4096, 65_536}) {
            // Java 17 itself crashes on an empty GCM message, with any module.
            if (length == 0 && name.contains("GCM")) continue;
            byte[] secret = run(name, token, Cipher.ENCRYPT_MODE, key, parameters, length);
            check(name + " " + keyLength * 8 + " encrypts " + length, Arrays.equals(secret, run(name, Security.getProvider("SunJCE"), Cipher.ENCRYPT_MODE, key, parameters, length)));
            check(name + " " + keyLength * 8 + " decrypts " + length, Arrays.equals(Arrays.copyOf(DATA, length), apply(name, token, Cipher.DECRYPT_MODE, key, parameters, secret)));
        }
    }

    static byte[] run(String name, Provider provider, int mode, Key key, AlgorithmParameterSpec parameters, int length) throws Exception {
        return apply(name, provider, mode, key, parameters, Arrays.copyOf(DATA, length));
    }

    /// In pieces, as a stream would.
    static byte[] apply(String name, Provider provider, int mode, Key key, AlgorithmParameterSpec parameters, byte[] input) throws Exception {
        Cipher cipher = Cipher.getInstance(name, provider);
        cipher.init(mode, key, parameters);
        if (name.contains("GCM")) cipher.updateAAD(DATA, 0, 20);
        var output = new java.io.ByteArrayOutputStream();
        for (int at = 0; at < input.length; at += 1001) {
            byte[] piece = cipher.update(input, at, Math.min(1001, input.length - at));
            if (piece != null) output.write(piece);
        }
        output.write(cipher.doFinal());
        return output.toByteArray();
    }

    static void rsaCipher() throws Exception {
        Cipher software = Cipher.getInstance("RSA/ECB/PKCS1Padding", "SunJCE");
        software.init(Cipher.ENCRYPT_MODE, certified("rsa"));
        byte[] secret = software.doFinal(DATA, 0, 100);
        Cipher inToken = Cipher.getInstance("RSA/ECB/PKCS1Padding", token);
        inToken.init(Cipher.DECRYPT_MODE, key("rsa"));
        check("RSA PKCS#1 decryption", Arrays.equals(inToken.doFinal(secret), Arrays.copyOf(DATA, 100)));
        inToken.init(Cipher.ENCRYPT_MODE, certified("rsa"));
        secret = inToken.doFinal(DATA, 0, 100);
        inToken.init(Cipher.DECRYPT_MODE, key("rsa"));
        check("RSA PKCS#1 encryption", Arrays.equals(inToken.doFinal(secret), Arrays.copyOf(DATA, 100)));

        for (String name : List.of("RSA/ECB/OAEPWithSHA-1AndMGF1Padding", "RSA/ECB/OAEPWithSHA-256AndMGF1Padding")) {
            try {
                inToken = Cipher.getInstance(name, token);
            } catch (NoSuchAlgorithmException | NoSuchPaddingException none) {
                System.out.println("--  this Java's provider has no " + name);
                continue;
            }
            inToken.init(Cipher.DECRYPT_MODE, key("rsa"));
            software = Cipher.getInstance(name, "SunJCE");
            software.init(Cipher.ENCRYPT_MODE, certified("rsa"));
            check(name, Arrays.equals(inToken.doFinal(software.doFinal(DATA, 0, 100)), Arrays.copyOf(DATA, 100)));
        }
        // The bare operation: what it undoes is raised to the public exponent here.
        var rsa = (java.security.interfaces.RSAPublicKey) certified("rsa");
        byte[] block = Arrays.copyOf(DATA, rsa.getModulus().bitLength() / 8);
        block[0] = 0;
        BigInteger raised = new BigInteger(1, block).modPow(rsa.getPublicExponent(), rsa.getModulus());
        byte[] sealed = HexFormat.of().parseHex(String.format("%0" + 2 * block.length + "x", raised));
        inToken = Cipher.getInstance("RSA/ECB/NoPadding", token);
        inToken.init(Cipher.DECRYPT_MODE, key("rsa"));
        check("bare RSA", Arrays.equals(inToken.doFinal(sealed), block));
    }

    static void macs() throws Exception {
        for (String name : List.of("HmacSHA1", "HmacSHA256", "HmacSHA384", "HmacSHA512")) {
            Mac inToken = Mac.getInstance(name, token);
            inToken.init(bytes(name, 64));
            Mac software = Mac.getInstance(name, "SunJCE");
            software.init(bytes(name, 64));
            inToken.update(DATA, 0, 99);
            inToken.update(DATA, 99, DATA.length - 99);
            check(name, Arrays.equals(inToken.doFinal(), software.doFinal(DATA)));
        }
    }

    static void digests() throws Exception {
        for (String name : List.of("SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512")) {
            MessageDigest inToken = MessageDigest.getInstance(name, token);
            MessageDigest software = MessageDigest.getInstance(name, "SUN");
            inToken.update(DATA, 0, 5000);
            MessageDigest copy;
            try {
                copy = (MessageDigest) inToken.clone();
            } catch (CloneNotSupportedException none) {
                copy = null; // a module need not be able to save a digest's state
                System.out.println("--  " + name + " cannot be cloned");
            }
            inToken.update(DATA, 5000, 5000);
            byte[] expected = software.digest(Arrays.copyOf(DATA, 10_000));
            check(name, Arrays.equals(inToken.digest(), expected));
            if (copy != null) {
                copy.update(DATA, 5000, 5000);
                check(name + ", from a clone", Arrays.equals(copy.digest(), expected));
            }
        }
    }

    static void agreement() throws Exception {
        for (String curve : List.of("secp256r1", "secp384r1", "secp521r1")) {
            KeyPairGenerator inToken = KeyPairGenerator.getInstance("EC", token);
            inToken.initialize(new ECGenParameterSpec(curve));
            KeyPairGenerator software = KeyPairGenerator.getInstance("EC", "SunEC");
            software.initialize(new ECGenParameterSpec(curve));
            KeyPair ours = inToken.generateKeyPair(), theirs = software.generateKeyPair();
            KeyAgreement one = KeyAgreement.getInstance("ECDH", token);
            one.init(ours.getPrivate());
            one.doPhase(theirs.getPublic(), true);
            KeyAgreement other = KeyAgreement.getInstance("ECDH", "SunEC");
            other.init(theirs.getPrivate());
            PublicKey plain = KeyFactory.getInstance("EC", "SunEC").generatePublic(new X509EncodedKeySpec(ours.getPublic().getEncoded()));
            other.doPhase(plain, true);
            check("ECDH " + curve, Arrays.equals(one.generateSecret(), other.generateSecret()));
        }
    }

    static void random() throws Exception {
        SecureRandom random = SecureRandom.getInstance("PKCS11", token);
        byte[] one = new byte[64], other = new byte[64];
        random.nextBytes(one);
        random.setSeed(DATA);
        random.nextBytes(other);
        check("random bytes differ", !Arrays.equals(one, other) && !new BigInteger(1, one).equals(BigInteger.ZERO));
    }

    static void wrapping() throws Exception {
        Cipher software = Cipher.getInstance("RSA/ECB/PKCS1Padding", "SunJCE");
        software.init(Cipher.WRAP_MODE, certified("rsa"));
        SecretKey session = bytes("AES", 32);
        byte[] wrapped = software.wrap(session);
        Cipher inToken = Cipher.getInstance("RSA/ECB/PKCS1Padding", token);
        inToken.init(Cipher.UNWRAP_MODE, key("rsa"));
        Key back = inToken.unwrap(wrapped, "AES", Cipher.SECRET_KEY);
        AlgorithmParameterSpec iv = new IvParameterSpec(DATA, 0, 16);
        check("an unwrapped AES key is the one that was wrapped",
            Arrays.equals(run("AES/CBC/PKCS5Padding", token, Cipher.ENCRYPT_MODE, back, iv, 100),
                run("AES/CBC/PKCS5Padding", Security.getProvider("SunJCE"), Cipher.ENCRYPT_MODE, session, iv, 100)));
    }

    static void threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        PublicKey rsa = certified("rsa"), ec = certified("ec");
        List<Future<Boolean>> results = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            boolean even = i % 2 == 0;
            results.add(pool.submit(() -> {
                String name = even ? "SHA256withRSA" : "SHA256withECDSA";
                Signature signer = Signature.getInstance(name, token);
                signer.initSign(key(even ? "rsa" : "ec"));
                signer.update(DATA);
                byte[] signature = signer.sign();
                Signature verifier = Signature.getInstance(name, even ? "SunRsaSign" : "SunEC");
                verifier.initVerify(even ? rsa : ec);
                verifier.update(DATA);
                return verifier.verify(signature);
            }));
        }
        boolean all = true;
        for (Future<Boolean> result : results) all &= result.get();
        pool.shutdown();
        check("200 signatures by 8 threads", all);
    }

    static void https(String alias) throws Exception {
        for (String version : List.of("TLSv1.2", "TLSv1.3")) {
            HttpsServer server = HttpsServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            server.setHttpsConfigurator(new HttpsConfigurator(serverContext(alias)));
            server.createContext("/", exchange -> {
                byte[] answer = "from the token".getBytes(StandardCharsets.UTF_8);
                exchange.sendResponseHeaders(200, answer.length);
                exchange.getResponseBody().write(answer);
                exchange.close();
            });
            server.start();
            try {
                check("HTTPS " + version + " with the " + alias + " key", fetch(server.getAddress().getPort(), alias, version).equals("from the token"));
            } finally {
                server.stop(0);
            }
        }
    }

    /// Only this key: the key manager would else choose by itself.
    static SSLContext serverContext(String alias) throws Exception {
        KeyManagerFactory factory = KeyManagerFactory.getInstance("SunX509");
        factory.init(store, null);
        X509KeyManager all = (X509KeyManager) factory.getKeyManagers()[0];
        X509ExtendedKeyManager one = new X509ExtendedKeyManager() {
            public String chooseEngineServerAlias(String type, Principal[] issuers, SSLEngine engine) {
                return type.startsWith(alias.toUpperCase()) ? alias : null;
            }
            public String chooseServerAlias(String type, Principal[] issuers, java.net.Socket socket) { return chooseEngineServerAlias(type, issuers, null); }
            public String chooseClientAlias(String[] types, Principal[] issuers, java.net.Socket socket) { return null; }
            public String[] getServerAliases(String type, Principal[] issuers) { return all.getServerAliases(type, issuers); }
            public String[] getClientAliases(String type, Principal[] issuers) { return null; }
            public java.security.cert.X509Certificate[] getCertificateChain(String name) { return all.getCertificateChain(name); }
            public PrivateKey getPrivateKey(String name) { return all.getPrivateKey(name); }
        };
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(new KeyManager[] {one}, null, null);
        return context;
    }

    static String fetch(int port, String alias, String version) throws Exception {
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        Certificate[] chain = store.getCertificateChain(alias);
        trusted.setCertificateEntry("root", chain[chain.length - 1]);
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(trusted);
        SSLContext context = SSLContext.getInstance(version);
        context.init(null, factory.getTrustManagers(), null);
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("localhost", port)) {
            socket.setEnabledProtocols(new String[] {version});
            socket.setSoTimeout(120_000); // under valgrind all takes its time
            socket.getOutputStream().write("GET / HTTP/1.0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            InputStream input = socket.getInputStream();
            String answer = new String(input.readAllBytes(), StandardCharsets.UTF_8);
            if (!socket.getSession().getProtocol().equals(version)) throw new AssertionError(socket.getSession().getProtocol());
            return answer.substring(answer.indexOf("\r\n\r\n") + 4);
        }
    }
}
