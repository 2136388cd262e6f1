//! Who is calling: API tokens, and the platform with its `back_auth`.
//!
//! Secrets are kept as SHA-256 digests and compared in constant time: neither length nor content
//! shows in how long a refusal takes.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::{ApiToken, HookAuth, Role};
use crate::http::Context;
use crate::http::problem::{Code, Problem};

type Fingerprint = [u8; 32];

fn fingerprint(text: &str) -> Fingerprint {
    Sha256::digest(text.as_bytes()).into()
}

fn same(a: &Fingerprint, b: &Fingerprint) -> bool {
    a.ct_eq(b).into()
}

/// The tokens of the API.
pub(super) struct Tokens(Vec<Token>);

struct Token {
    name: String,
    role: Role,
    secret: Fingerprint,
}

/// The name of the token that a request came with, for the log.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) String);

impl Tokens {
    pub(super) fn new(tokens: &[ApiToken]) -> Self {
        let token = |token: &ApiToken| Token {
            name: token.name.clone(),
            role: token.role,
            secret: fingerprint(token.secret.expose_secret()),
        };
        Self(tokens.iter().map(token).collect())
    }

    /// Compares with every token, whichever it is.
    fn find(&self, secret: &str) -> Option<&Token> {
        let given = fingerprint(secret);
        let mut found = None;
        for token in &self.0 {
            if same(&token.secret, &given) {
                found = Some(token);
            }
        }
        found
    }
}

/// Lets only known tokens through, and those that may only read only read.
pub(super) async fn require_token(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let secret = bearer(request.headers());
    let Some(token) = secret.and_then(|secret| context.tokens.find(secret)) else {
        let detail = "send Authorization: Bearer <secret> with a secret of FREELINE_API_TOKENS";
        return Problem::new(Code::Unauthorized, detail).into_response();
    };
    let caller = Caller(token.name.clone());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if token.role == Role::Read && !reads {
        let detail = format!("the token {} may only read", caller.0);
        let mut response = Problem::new(Code::Forbidden, detail).into_response();
        response.extensions_mut().insert(caller);
        return response;
    }
    let mut response = next.run(request).await;
    response.extensions_mut().insert(caller);
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

/// What follows the scheme in `Authorization`.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (given, credentials) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

/// What the platform must send.
pub(super) enum CallbackAuth {
    Open,
    Bearer(Fingerprint),
    Basic(Fingerprint),
}

impl CallbackAuth {
    pub(super) fn new(auth: &HookAuth) -> Self {
        match auth {
            HookAuth::None => Self::Open,
            HookAuth::Bearer(token) => Self::Bearer(fingerprint(token.expose_secret())),
            HookAuth::Basic { login, password } => {
                Self::Basic(fingerprint(&format!("{login}:{}", password.expose_secret())))
            }
        }
    }

    /// Whether the platform's credentials are there and right.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Open => true,
            Self::Bearer(expected) => {
                bearer(headers).is_some_and(|token| same(&fingerprint(token), expected))
            }
            Self::Basic(expected) => credentials(headers, "basic")
                .and_then(|encoded| STANDARD.decode(encoded).ok())
                .and_then(|decoded| String::from_utf8(decoded).ok())
                .is_some_and(|decoded| same(&fingerprint(&decoded), expected)),
        }
    }

    /// What a refusal asks for.
    pub(super) const fn challenge(&self) -> &'static str {
        match self {
            Self::Open | Self::Bearer(_) => "Bearer",
            Self::Basic(_) => "Basic realm=\"freeline\"",
        }
    }
}
