//! DescribeAcls (key 29), CreateAcls (key 30), DeleteAcls (key 31), each v1 to v3. KIP-140, KIP-290.
//!
//! Behaviour: SECURITY_DISABLED in Kafka's words, which is what a Kafka without an authorizer answers; tools (MirrorMaker
//! 2, consoles) take it for "no ACLs here". An authorizer is refused at start (`authorizer.class.name`).
//! Left out: ACLs.

use std::sync::Arc;

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse,
};

use super::errors::Code;
use super::{Answer, Close, Context, text};
use crate::broker::Broker;

const NO_AUTHORIZER: &str = "No Authorizer is configured.";
/// DescribeAcls says it so.
const NO_AUTHORIZER_HERE: &str = "No Authorizer is configured on the broker";

pub async fn describe(
    _: &Arc<Broker>,
    context: &Context<'_>,
    _: DescribeAclsRequest,
) -> Result<Answer, Close> {
    let response = DescribeAclsResponse::default()
        .with_error_code(Code::SecurityDisabled.into())
        .with_error_message(Some(text(NO_AUTHORIZER_HERE)));
    context.answer(&response)
}

pub async fn create(
    _: &Arc<Broker>,
    context: &Context<'_>,
    request: CreateAclsRequest,
) -> Result<Answer, Close> {
    let refused = AclCreationResult::default()
        .with_error_code(Code::SecurityDisabled.into())
        .with_error_message(Some(text(NO_AUTHORIZER)));
    let results = request.creations.iter().map(|_| refused.clone()).collect();
    context.answer(&CreateAclsResponse::default().with_results(results))
}

pub async fn delete(
    _: &Arc<Broker>,
    context: &Context<'_>,
    request: DeleteAclsRequest,
) -> Result<Answer, Close> {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(Code::SecurityDisabled.into())
        .with_error_message(Some(text(NO_AUTHORIZER)));
    let results = request.filters.iter().map(|_| refused.clone()).collect();
    context.answer(&DeleteAclsResponse::default().with_filter_results(results))
}
