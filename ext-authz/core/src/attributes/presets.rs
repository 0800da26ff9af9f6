//! What the issuers of known platforms prove: each attribute, and the claim that it is read from. `trust`
//! fills attributes by these tables, `policy` knows their names by them, and docs/trust.md shows them.

/// How the claim of an attribute is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string, a number or a truth value.
    One,
    /// A list of them, or a single one.
    List,
    /// Each member of an object is an attribute of its own: the name of the member follows the attribute's.
    Members,
    /// Each claim that begins so is one: what follows in its name follows the attribute's.
    Prefixed,
}

/// One attribute of a platform, or a family of them.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    /// Its name: `github.repository`. That of a family ends with a dot.
    pub attribute: &'static str,
    /// The claim.
    pub claim: &'static str,
    /// How it is read.
    pub form: Form,
}

const fn one(attribute: &'static str, claim: &'static str) -> Mapped {
    Mapped {
        attribute,
        claim,
        form: Form::One,
    }
}

/// GitHub Actions. What GitHub writes of the repository, the run and the runner; nothing of it is the
/// workflow author's word but the names of branches, environments and workflows.
pub const GITHUB: &[Mapped] = &[
    one("github.subject", "sub"),
    one("github.repository", "repository"),
    one("github.repositoryId", "repository_id"),
    one("github.repositoryOwner", "repository_owner"),
    one("github.repositoryOwnerId", "repository_owner_id"),
    one("github.repositoryVisibility", "repository_visibility"),
    one("github.enterprise", "enterprise"),
    one("github.enterpriseId", "enterprise_id"),
    one("github.ref", "ref"),
    one("github.refType", "ref_type"),
    one("github.refProtected", "ref_protected"),
    one("github.baseRef", "base_ref"),
    one("github.headRef", "head_ref"),
    one("github.sha", "sha"),
    one("github.environment", "environment"),
    one("github.eventName", "event_name"),
    one("github.workflow", "workflow"),
    one("github.workflowRef", "workflow_ref"),
    one("github.workflowSha", "workflow_sha"),
    one("github.jobWorkflowRef", "job_workflow_ref"),
    one("github.jobWorkflowSha", "job_workflow_sha"),
    one("github.runId", "run_id"),
    one("github.runNumber", "run_number"),
    one("github.runAttempt", "run_attempt"),
    one("github.checkRunId", "check_run_id"),
    one("github.runnerEnvironment", "runner_environment"),
    one("github.actor", "actor"),
    one("github.actorId", "actor_id"),
    Mapped {
        attribute: "github.repositoryProperty.",
        claim: "repo_property_",
        form: Form::Prefixed,
    },
];

/// GitLab CI/CD.
pub const GITLAB: &[Mapped] = &[
    one("gitlab.subject", "sub"),
    one("gitlab.namespacePath", "namespace_path"),
    one("gitlab.namespaceId", "namespace_id"),
    one("gitlab.projectPath", "project_path"),
    one("gitlab.projectId", "project_id"),
    one("gitlab.projectVisibility", "project_visibility"),
    one("gitlab.jobNamespacePath", "job_namespace_path"),
    one("gitlab.jobNamespaceId", "job_namespace_id"),
    one("gitlab.jobProjectPath", "job_project_path"),
    one("gitlab.jobProjectId", "job_project_id"),
    one("gitlab.ref", "ref"),
    one("gitlab.refType", "ref_type"),
    one("gitlab.refPath", "ref_path"),
    one("gitlab.refProtected", "ref_protected"),
    one("gitlab.sha", "sha"),
    one("gitlab.environment", "environment"),
    one("gitlab.environmentProtected", "environment_protected"),
    one("gitlab.environmentAction", "environment_action"),
    one("gitlab.deploymentTier", "deployment_tier"),
    one("gitlab.pipelineId", "pipeline_id"),
    one("gitlab.pipelineSource", "pipeline_source"),
    one("gitlab.jobId", "job_id"),
    one("gitlab.ciConfigRefUri", "ci_config_ref_uri"),
    one("gitlab.ciConfigSha", "ci_config_sha"),
    one("gitlab.runnerId", "runner_id"),
    one("gitlab.runnerEnvironment", "runner_environment"),
    one("gitlab.userId", "user_id"),
    one("gitlab.userLogin", "user_login"),
    one("gitlab.userEmail", "user_email"),
    one("gitlab.userAccessLevel", "user_access_level"),
    Mapped {
        attribute: "gitlab.groupsDirect",
        claim: "groups_direct",
        form: Form::List,
    },
];

/// HCP Terraform and Terraform Enterprise.
pub const TERRAFORM: &[Mapped] = &[
    one("terraform.subject", "sub"),
    one("terraform.organization", "terraform_organization_name"),
    one("terraform.organizationId", "terraform_organization_id"),
    one("terraform.project", "terraform_project_name"),
    one("terraform.projectId", "terraform_project_id"),
    one("terraform.workspace", "terraform_workspace_name"),
    one("terraform.workspaceId", "terraform_workspace_id"),
    one("terraform.fullWorkspace", "terraform_full_workspace"),
    one("terraform.runPhase", "terraform_run_phase"),
    one("terraform.runId", "terraform_run_id"),
];

/// The claim that AWS keeps its own claims in.
pub const AWS_CLAIM: &str = "https://sts.amazonaws.com/";

/// AWS outbound identity federation. All but the role stand in [`AWS_CLAIM`].
///
/// SECURITY: `request_tags` are the caller's own word and no attribute.
pub const AWS: &[Mapped] = &[
    one("aws.roleArn", "sub"),
    one("aws.accountId", "aws_account"),
    one("aws.sourceRegion", "source_region"),
    one("aws.organizationId", "org_id"),
    one("aws.principalId", "principal_id"),
    one("aws.lambdaFunctionArn", "lambda_source_function_arn"),
    Mapped {
        attribute: "aws.organizationPath",
        claim: "ou_path",
        form: Form::List,
    },
    Mapped {
        attribute: "aws.principalTag.",
        claim: "principal_tags",
        form: Form::Members,
    },
];
