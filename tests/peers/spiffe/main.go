// An independent peer: a trust domain made with go-spiffe. It writes SVIDs into a folder, serves their bundle
// as a bundle endpoint of the profile https_spiffe and over a Workload API, and says how it judges an SVID.
//
//	spiffe serve DIR       until standard input ends; prints one line of JSON when it is ready
//	spiffe judge DIR FILE  exit code 0 if go-spiffe accepts the JWT-SVID or the PEM chain in FILE
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

var (
	trustDomain = spiffeid.RequireTrustDomainFromString("peer.example")
	workloadID  = spiffeid.RequireFromPath(trustDomain, "/ns/shop/sa/payment")
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		check(serve(os.Args[2]))
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "judge" {
		check(judge(os.Args[2], os.Args[3]))
		return
	}
	check(errors.New("usage: spiffe serve DIR | spiffe judge DIR FILE"))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type domain struct {
	bundle  *spiffebundle.Bundle
	root    *x509.Certificate
	rootKey crypto.Signer
	jwtKey  *ecdsa.PrivateKey
}

func newDomain() (*domain, error) {
	rootKey, err := newKey()
	if err != nil {
		return nil, err
	}
	template := signing("root", trustDomain.ID().URL())
	root, err := issue(template, template, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	jwtKey, err := newKey()
	if err != nil {
		return nil, err
	}
	bundle := spiffebundle.New(trustDomain)
	bundle.AddX509Authority(root)
	if err := bundle.AddJWTAuthority("peer-1", jwtKey.Public()); err != nil {
		return nil, err
	}
	bundle.SetRefreshHint(time.Minute)
	bundle.SetSequenceNumber(1)
	return &domain{bundle, root, rootKey, jwtKey}, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func signing(name string, id *url.URL) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		URIs:                  []*url.URL{id},
	}
}

func issue(template, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// leaf makes an X.509-SVID, below an intermediate if asked to.
func (d *domain) leaf(id spiffeid.ID, deep bool) (*x509svid.SVID, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	parent, signer, chain := d.root, d.rootKey, []*x509.Certificate(nil)
	if deep {
		between, err := newKey()
		if err != nil {
			return nil, err
		}
		parent, err = issue(signing("between", trustDomain.ID().URL()), d.root, between.Public(), d.rootKey)
		if err != nil {
			return nil, err
		}
		signer, chain = between, []*x509.Certificate{parent}
	}
	leaf, err := issue(&x509.Certificate{
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id.URL()},
	}, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return &x509svid.SVID{ID: id, Certificates: append([]*x509.Certificate{leaf}, chain...), PrivateKey: key}, nil
}

func (d *domain) token(id spiffeid.ID) (string, error) {
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: d.jwtKey, KeyID: "peer-1"}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Subject:  id.String(),
		Audience: jwt.Audience{"attache"},
		Expiry:   jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
		IssuedAt: jwt.NewNumericDate(time.Now()),
	}).Serialize()
}

// write puts the bundle and the SVIDs into dir.
func (d *domain) write(dir string) error {
	document, err := d.bundle.Marshal()
	if err != nil {
		return err
	}
	token, err := d.token(workloadID)
	if err != nil {
		return err
	}
	files := map[string][]byte{"bundle.json": document, "token.jwt": []byte(token)}
	for name, deep := range map[string]bool{"svid.pem": false, "deep.pem": true} {
		svid, err := d.leaf(workloadID, deep)
		if err != nil {
			return err
		}
		chain, _, err := svid.Marshal()
		if err != nil {
			return err
		}
		files[name] = chain
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func serve(dir string) error {
	d, err := newDomain()
	if err != nil {
		return err
	}
	if err := d.write(dir); err != nil {
		return err
	}
	endpoint, err := d.serveEndpoint()
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, &agent{domain: d, withdrawn: filepath.Join(dir, "withdrawn")})
	go func() { _ = server.Serve(listener) }()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"url": endpoint, "socket": socket}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serveEndpoint serves the bundle with go-spiffe's own handler and TLS, and returns the URL.
func (d *domain) serveEndpoint() (string, error) {
	svid, err := d.leaf(spiffeid.RequireFromPath(trustDomain, "/spire/server"), true)
	if err != nil {
		return "", err
	}
	handler, err := federation.NewHandler(trustDomain, d.bundle)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(tls.NewListener(listener, tlsconfig.TLSServerConfig(svid))) }()
	return "https://" + listener.Addr().String() + "/", nil
}

type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	domain *domain
	// While this file is there, its callers have no identity.
	withdrawn string
}

func (a *agent) entitled(ctx context.Context) error {
	if err := secured(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(a.withdrawn); err == nil {
		return status.Error(codes.PermissionDenied, "no identity issued")
	}
	return nil
}

// FetchX509SVID sends a new SVID each second, below a new intermediate each time.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	for {
		if err := a.entitled(stream.Context()); err != nil {
			return err
		}
		svid, err := a.domain.leaf(workloadID, true)
		if err != nil {
			return err
		}
		chain, key, err := svid.MarshalRaw()
		if err != nil {
			return err
		}
		err = stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
			SpiffeId:    workloadID.String(),
			X509Svid:    chain,
			X509SvidKey: key,
			Bundle:      a.domain.root.Raw,
		}}})
		if err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func (a *agent) FetchJWTSVID(ctx context.Context, request *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if err := a.entitled(ctx); err != nil {
		return nil, err
	}
	if len(request.Audience) != 1 || request.Audience[0] != "attache" {
		return nil, status.Error(codes.InvalidArgument, "this peer knows one audience")
	}
	token, err := a.domain.token(workloadID)
	if err != nil {
		return nil, err
	}
	svid := &workload.JWTSVID{SpiffeId: workloadID.String(), Svid: token}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{svid}}, nil
}

func secured(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	return nil
}

func (a *agent) FetchX509Bundles(_ *workload.X509BundlesRequest, stream workload.SpiffeWorkloadAPI_FetchX509BundlesServer) error {
	if err := secured(stream.Context()); err != nil {
		return err
	}
	bundles := map[string][]byte{trustDomain.IDString(): a.domain.root.Raw}
	if err := stream.Send(&workload.X509BundlesResponse{Bundles: bundles}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (a *agent) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream workload.SpiffeWorkloadAPI_FetchJWTBundlesServer) error {
	if err := secured(stream.Context()); err != nil {
		return err
	}
	// As go-spiffe marshals a JWT bundle: without `use`.
	document, err := a.domain.bundle.JWTBundle().Marshal()
	if err != nil {
		return err
	}
	bundles := map[string][]byte{trustDomain.IDString(): document}
	if err := stream.Send(&workload.JWTBundlesResponse{Bundles: bundles}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func judge(dir, file string) error {
	bundle, err := spiffebundle.Load(trustDomain, filepath.Join(dir, "bundle.json"))
	if err != nil {
		return err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(content), "-----BEGIN") {
		_, err := jwtsvid.ParseAndValidate(strings.TrimSpace(string(content)), bundle, []string{"attache"})
		return err
	}
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		certificates = append(certificates, certificate)
	}
	_, _, err = x509svid.Verify(certificates, bundle)
	return err
}
