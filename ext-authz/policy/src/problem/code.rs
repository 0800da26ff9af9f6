//! The stable code of each kind of problem.

/// Each variant beside its text, so that neither can be forgotten.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What kind of problem it is. The code is stable; the message is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable text of the code.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The file is larger than is read.
    FileTooLarge => "file-too-large",
    /// The file holds nothing, not even a comment.
    EmptyFile => "empty-file",
    /// The file is not UTF-8.
    NotUtf8 => "not-utf8",
    /// The file is not YAML 1.2.
    Syntax => "syntax",
    /// Mappings and lists are nested deeper than is read.
    TooDeep => "too-deep",
    /// An alias is cyclic, or aliases grow beyond what is read.
    Alias => "alias",
    /// A YAML tag.
    Tag => "tag",
    /// A key stands twice in one mapping.
    DuplicateKey => "duplicate-key",
    /// A value of another type than the field takes.
    WrongType => "wrong-type",
    /// A field without value, an empty text or an empty list.
    Empty => "empty",
    /// A required field is absent.
    MissingField => "missing-field",
    /// A field that the mapping does not have.
    UnknownField => "unknown-field",
    /// A word outside the field's list.
    UnknownChoice => "unknown-choice",
    /// A number, duration or size outside its bounds.
    OutOfRange => "out-of-range",
    /// A value of the right type and a wrong form.
    InvalidValue => "invalid-value",
    /// Fields that exclude each other.
    ConflictingFields => "conflicting-fields",
    /// An `apiVersion` that is not ours.
    UnknownVersion => "unknown-version",
    /// A `kind` that does not exist.
    UnknownKind => "unknown-kind",
    /// A name that is not a DNS-1123 name.
    InvalidName => "invalid-name",
    /// Two documents, or two list items, of one name.
    DuplicateName => "duplicate-name",
    /// A reference to a document that does not exist.
    DanglingReference => "dangling-reference",
    /// A reference that several documents answer to.
    AmbiguousReference => "ambiguous-reference",
    /// A reference to a document of another kind.
    WrongKindReference => "wrong-kind-reference",
    /// An attribute that no trust provider proves.
    UnknownAttribute => "unknown-attribute",
    /// A pattern that matches everything.
    MatchesEverything => "matches-everything",
    /// Conditions of one selector entry that no caller can meet together.
    ContradictorySelector => "contradictory-selector",
    /// A host that is not a host.
    InvalidHost => "invalid-host",
    /// A host whose Unicode form reads like another.
    ConfusableHost => "confusable-host",
    /// A path prefix that is not a plain absolute path.
    InvalidPath => "invalid-path",
    /// A method that is not a method, or is never let through.
    InvalidMethod => "invalid-method",
    /// A header that cannot carry a credential.
    InvalidHeader => "invalid-header",
    /// A query parameter that cannot carry a credential.
    InvalidParameter => "invalid-parameter",
    /// A URL that is none, or is not safe to fetch keys from.
    InvalidUrl => "invalid-url",
    /// Inline keys that are no usable key set.
    InvalidKeys => "invalid-keys",
    /// Two trust providers that could vouch for one identity.
    ProviderCollision => "provider-collision",
    /// A trust provider that vouches for everybody with an account at a public platform.
    OpenToStrangers => "open-to-strangers",
    /// Two allows of one rank that overlap with different credentials.
    CredentialConflict => "credential-conflict",
    /// A claim that only the issuer sets.
    ReservedClaim => "reserved-claim",
    /// A credential for callers that nobody proves.
    UnattestedCredential => "unattested-credential",
    /// A credential that the target's authentication cannot carry.
    CredentialNotCarried => "credential-not-carried",
    /// A credential for another host than its provider names.
    CredentialForOtherHost => "credential-for-other-host",
    /// A secret that stands in a document.
    LiteralSecret => "literal-secret",
    /// A reference to a secret outside of what the configuration lets documents point to.
    ForeignSecret => "foreign-secret",
    /// A file outside the folders that documents may name files in.
    ForeignFile => "foreign-file",
    /// A part of a policy that can never apply.
    NeverApplies => "never-applies",
    /// A policy that can never apply because of another.
    Shadowed => "shadowed",
    /// A time window that is never open.
    NeverOpens => "never-opens",
    /// A time zone that does not exist.
    UnknownTimeZone => "unknown-time-zone",
    /// A CEL expression that does not compile, or is no truth value.
    InvalidExpression => "invalid-expression",
    /// A workload that no trust provider can prove.
    Unproven => "unproven",
    /// A name that looks like a misspelling of another.
    LikelyMisspelled => "likely-misspelled",
}
