//! Certificates for tests, made on the spot.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::path::{Path, PathBuf};

/// An authority of a test's own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its own certificate, as a file.
    pub ca_file: String,
}

/// A certificate and its key, as files.
pub(crate) struct Certified {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    serial: SerialNumber,
}

impl Authority {
    /// A new one, whose files lie in the folder.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let ca_file = write(folder, &format!("{name}.ca.pem"), &certificate.pem());
        Self {
            issuer: Issuer::new(params, key),
            folder: folder.to_owned(),
            ca_file,
        }
    }

    /// Writes a certificate for these names, good for servers and for clients, under a file name.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Certified {
        self.issue_until(file, names, 2100)
    }

    /// The same, good until a year begins.
    pub(crate) fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Certified {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(year, 1, 1);
        let serial = SerialNumber::from(uuid::Uuid::new_v4().as_bytes()[..8].to_vec());
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certified {
            serial,
            cert: write(&self.folder, &format!("{file}.pem"), &certificate.pem()),
            key: write(&self.folder, &format!("{file}.key"), &key.serialize_pem()),
        }
    }
}

impl Authority {
    /// Writes the list of what it has revoked; gives the file.
    pub(crate) fn revoke(&self, revoked: &[&Certified]) -> String {
        let revoked = revoked.iter().map(|certified| RevokedCertParams {
            serial_number: certified.serial.clone(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list").pem().expect("PEM");
        write(&self.folder, "revoked.pem", &list)
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    // As a renewal does it: whoever reads sees the old one or the new one, never half of it.
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, text).expect("the folder can be written");
    std::fs::rename(&new, &path).expect("the folder can be written");
    path.display().to_string()
}
