use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::time::Duration;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Certificate and key.
    fn issue(&self, serial: u64) -> (String, String) {
        let mut params = CertificateParams::new(vec!["client.quell".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn revoke(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

#[test]
fn a_certificate_is_good_until_it_ends_is_revoked_or_loses_its_authority() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (server, key) = ours.issue(1);
    let (client, _) = ours.issue(7);
    let client = chain(client.as_bytes()).unwrap();
    let (first, second) = (ours.revoke(8), ours.revoke(7));
    let side = |roots: &str, revoked: Option<&str>| {
        let clients = (roots.as_bytes(), revoked.map(str::as_bytes));
        server_side(server.as_bytes(), key.as_bytes(), Some(clients)).unwrap()
    };
    let now = UnixTime::now();
    let judged = |side: &ServerSide, at| side.accepts(&client, at).map_err(|error| error.to_string());
    assert_eq!(judged(&side(&ours.pem, None), now), Ok(()));
    assert_eq!(judged(&side(&ours.pem, Some(&first)), now), Ok(()));
    for (what, side, at) in [
        (
            "Expired",
            side(&ours.pem, None),
            UnixTime::since_unix_epoch(Duration::from_secs(5_000_000_000)),
        ),
        ("Revoked", side(&ours.pem, Some(&second)), now),
        ("UnknownIssuer", side(&other.pem, None), now),
    ] {
        let error = judged(&side, at).unwrap_err();
        assert!(
            error.contains(what) || error.contains(&what.to_lowercase()),
            "{what}: {error}"
        );
    }
    let clients = (ours.pem.as_bytes(), Some(&b"no list"[..]));
    let error = server_side(server.as_bytes(), key.as_bytes(), Some(clients)).unwrap_err();
    assert!(error.contains("revoked"), "{error}");
}

#[test]
fn without_a_certificate_one_gets_no_further_than_from_this_machine() {
    let ours = Authority::new("ours");
    let (server, key) = ours.issue(1);
    let clients = (ours.pem.as_bytes(), None);
    let side = server_side(server.as_bytes(), key.as_bytes(), Some(clients)).unwrap();
    assert!(side.demands_certificates());
    let to = "192.0.2.1".parse().unwrap();
    let of = |address: &str| side.config_for(address.parse().unwrap(), to);
    for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert!(Arc::ptr_eq(&of(here), &side.here), "{here}");
    }
    for elsewhere in ["10.0.0.1", "2001:db8::1", "0.0.0.0"] {
        assert!(Arc::ptr_eq(&of(elsewhere), &side.everywhere), "{elsewhere}");
    }
    assert!(Arc::ptr_eq(&side.config_for(to, to), &side.here), "its own address");
}
