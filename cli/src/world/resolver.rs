//! Names of Services and pods: what CoreDNS answers in a cluster.
//!
//! [`Zone`] is plain data and [`Zone::answer`] a function from query to response; [`serve`] puts
//! it on the network of each node. The world ends at the cluster's edge, so any other name does
//! not exist.
//!
//! Source: Kubernetes DNS-Based Service Discovery specification 1.1.0.

pub mod serve;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, CNAME, SOA},
    },
};

use super::addresses::CLUSTER_DOMAIN;

/// How long an answer may be kept. Short: endpoints of headless Services come and go.
const TTL: u32 = 5;
/// The largest UDP answer given, whatever the client offers: it fits every link here.
const UDP_PAYLOAD: u16 = 1232;
/// Longest chain of aliases followed.
const ALIASES_MAX: usize = 8;

/// Where a Service's name leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// To the Service's address.
    Vip(Ipv4Addr),
    /// To its ready endpoints, which may have names of their own.
    Endpoints(Vec<EndpointName>),
    /// To another name.
    Alias(String),
}

/// A ready endpoint of a headless Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointName {
    /// Its address.
    pub ip: Ipv4Addr,
    /// The name it has below the Service's, if its pod gave one.
    pub hostname: Option<String>,
}

/// Every name the cluster knows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Zone {
    /// The namespaces, also those without a Service.
    pub namespaces: BTreeSet<String>,
    /// The Services, by namespace and name.
    pub services: BTreeMap<(String, String), Target>,
}

/// What a name is.
#[derive(Debug, Eq, PartialEq)]
enum Found<'a> {
    Addresses(Vec<Ipv4Addr>),
    Alias(&'a str),
    /// The name exists and has no address.
    Nothing,
    /// There is no such name.
    Missing,
}

impl Zone {
    /// Answers one query.
    ///
    /// `turn` rotates the addresses of a headless Service, so that clients that take the first one
    /// spread over them.
    pub fn answer(&self, request: &Message, turn: usize) -> Message {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let mut response = Message::new(metadata.id, MessageType::Response, metadata.op_code);
        response.add_queries(request.queries.iter().cloned());
        if let Some(edns) = &request.edns {
            response.edns = Some(own_edns());
            if edns.version() > 0 {
                metadata.response_code = ResponseCode::BADVERS;
                response.metadata = metadata;
                return response;
            }
        }
        response.metadata = metadata;
        match request.queries.as_slice() {
            _ if request.metadata.op_code != OpCode::Query => {
                refuse(&mut response, ResponseCode::NotImp);
            }
            [query] if query.query_class() != DNSClass::IN => {
                refuse(&mut response, ResponseCode::Refused);
            }
            [query] => self.resolve(query, turn, &mut response),
            _ => refuse(&mut response, ResponseCode::FormErr),
        }
        response
    }

    fn resolve(&self, query: &Query, turn: usize, response: &mut Message) {
        let mut name = query.name().clone();
        for _ in 0..ALIASES_MAX {
            let found = match inside(&name) {
                Some(labels) => {
                    response.metadata.authoritative = true;
                    self.find(&labels)
                }
                // After an alias to the outside the alias itself is the answer.
                None if !response.answers.is_empty() => return,
                None => Found::Missing,
            };
            match found {
                Found::Alias(target) => {
                    let Ok(target) = Name::from_utf8(target) else {
                        return refuse(response, ResponseCode::ServFail);
                    };
                    response.add_answer(Record::from_rdata(
                        name,
                        TTL,
                        RData::CNAME(CNAME(target.clone())),
                    ));
                    if query.query_type() == RecordType::CNAME {
                        return;
                    }
                    name = target;
                }
                Found::Addresses(mut addresses)
                    if matches!(query.query_type(), RecordType::A | RecordType::ANY) =>
                {
                    let len = addresses.len().max(1);
                    addresses.rotate_left(turn % len);
                    let record = |ip| Record::from_rdata(name.clone(), TTL, RData::A(A(ip)));
                    response.add_answers(addresses.into_iter().map(record));
                    return;
                }
                Found::Addresses(_) | Found::Nothing => return add_soa(response),
                Found::Missing => {
                    if response.answers.is_empty() {
                        response.metadata.response_code = ResponseCode::NXDomain;
                    }
                    return add_soa(response);
                }
            }
        }
        refuse(response, ResponseCode::ServFail);
    }

    /// Finds a name by its labels below the cluster's domain, the last one first.
    fn find(&self, labels: &[String]) -> Found<'_> {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] | ["svc" | "pod"] => Found::Nothing,
            ["svc" | "pod", namespace] if self.has(namespace) => Found::Nothing,
            ["svc", namespace, service] => self.service(namespace, service),
            ["svc", namespace, service, host] => self.endpoint(namespace, service, host),
            ["pod", namespace, address] if self.has(namespace) => {
                match address.replace('-', ".").parse() {
                    Ok(ip) => Found::Addresses(vec![ip]),
                    Err(_) => Found::Missing,
                }
            }
            _ => Found::Missing,
        }
    }

    fn has(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace) || self.services.keys().any(|(of, _)| of == namespace)
    }

    fn target(&self, namespace: &str, service: &str) -> Option<&Target> {
        self.services
            .get(&(namespace.to_owned(), service.to_owned()))
    }

    fn service(&self, namespace: &str, service: &str) -> Found<'_> {
        match self.target(namespace, service) {
            Some(Target::Vip(ip)) => Found::Addresses(vec![*ip]),
            Some(Target::Endpoints(endpoints)) if endpoints.is_empty() => Found::Nothing,
            Some(Target::Endpoints(endpoints)) => {
                Found::Addresses(endpoints.iter().map(|of| of.ip).collect())
            }
            Some(Target::Alias(name)) => Found::Alias(name),
            None => Found::Missing,
        }
    }

    fn endpoint(&self, namespace: &str, service: &str, host: &str) -> Found<'_> {
        let Some(Target::Endpoints(endpoints)) = self.target(namespace, service) else {
            return Found::Missing;
        };
        let is_meant = |of: &&EndpointName| match &of.hostname {
            Some(hostname) => hostname.eq_ignore_ascii_case(host),
            None => of.ip.to_string().replace('.', "-") == host,
        };
        let ips: Vec<_> = endpoints.iter().filter(is_meant).map(|of| of.ip).collect();
        if ips.is_empty() {
            Found::Missing
        } else {
            Found::Addresses(ips)
        }
    }
}

/// The labels of `name` below the cluster's domain, lower case, the last one first; `None` when
/// it is not below.
fn inside(name: &Name) -> Option<Vec<String>> {
    let text = name.to_lowercase().to_ascii();
    let below = text.trim_end_matches('.').strip_suffix(CLUSTER_DOMAIN)?;
    match below.strip_suffix('.') {
        Some(labels) => Some(labels.rsplit('.').map(str::to_owned).collect()),
        None if below.is_empty() => Some(Vec::new()),
        None => None,
    }
}

fn refuse(response: &mut Message, code: ResponseCode) {
    response.metadata.response_code = code;
}

/// Says who knows that there is nothing, and for how long it may be believed.
fn add_soa(response: &mut Message) {
    let name =
        |text: &str| Name::from_ascii(format!("{text}{CLUSTER_DOMAIN}.")).unwrap_or_default();
    if response.metadata.authoritative {
        let soa = SOA::new(
            name("ns.dns."),
            name("hostmaster."),
            1,
            7200,
            1800,
            86400,
            TTL,
        );
        response.add_authority(Record::from_rdata(name(""), TTL, RData::SOA(soa)));
    }
}

fn own_edns() -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    edns
}

#[cfg(test)]
mod tests;
