//! Certificates for tests, made on the spot.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
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
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certified {
            cert: write(&self.folder, &format!("{file}.pem"), &certificate.pem()),
            key: write(&self.folder, &format!("{file}.key"), &key.serialize_pem()),
        }
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
